<?php

declare(strict_types=1);

namespace Kqueue\Tests;

/** Pressure on the processors, as the kernel measures it: the share of time in which some task waited for one. */
final class Pressure
{
    private const FILE = '/proc/pressure/cpu';

    /** Seconds of one measurement; long enough for a case that was just launched to show in the next one. */
    private const SPAN = 0.4;

    /** Share from which on nothing more is launched. */
    private const HIGH = 0.6;

    private float $at;

    private ?float $total;

    public function __construct()
    {
        [$this->at, $this->total] = [microtime(true), self::total()];
    }

    /**
     * Whether it was low over the last span. True at most once a span, and never where the kernel does not measure it.
     */
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

    /** Seconds of waiting since boot; null where the kernel does not measure it. */
    private static function total(): ?float
    {
        return preg_match('/^some .*total=(\d+)/m', (string) @file_get_contents(self::FILE), $found) ? $found[1] / 1e6 : null;
    }
}
