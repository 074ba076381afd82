<?php

declare(strict_types=1);

namespace Kqueue\Tests;

/** How busy the processors are, as the kernel measures it: the share of time in which somebody waited for one. */
final class Pressure
{
    private const FILE = '/proc/pressure/cpu';

    /** Seconds of one measurement. What has just been launched has to show in the next one. */
    private const SPAN = 0.4;

    /** Above this share nothing more is launched. */
    private const HIGH = 0.6;

    private float $at;

    private ?float $total;

    public function __construct()
    {
        [$this->at, $this->total] = [microtime(true), self::total()];
    }

    /** Whether it was low over the last moments. At most once a span, and never where the kernel does not say. */
    public function isLow(): bool
    {
        $now = microtime(true);
        if ($this->total === null || $now - $this->at < self::SPAN) {
            return false;
        }
        $total = self::total();
        $share = ($total - $this->total) / ($now - $this->at);
        [$this->at, $this->total] = [$now, $total];

        return $share < self::HIGH;
    }

    /** Seconds in all. */
    private static function total(): ?float
    {
        return preg_match('/^some .*total=(\d+)/m', (string) @file_get_contents(self::FILE), $found) ? $found[1] / 1e6 : null;
    }
}
