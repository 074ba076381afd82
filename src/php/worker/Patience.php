<?php

declare(strict_types=1);

namespace Kqueue\Worker;

/**
 * How long, and how often, a process that has lost its runtime connects to the next one.
 *
 * A starting runtime may close the connections of workers that it does not know yet. One that cannot start closes all of
 * them, and each new one may start it again: hence growing pauses, and an end. That is late for a process with a result
 * that only it knows.
 */
final class Patience
{
    /** Seconds after the loss: without a result, and with one. */
    private const MOST = [60.0, 3_600.0];

    /** Seconds after which a connection counts as accepted. */
    private const LASTS = 8.0;

    /** Microseconds of the longest pause, likewise. */
    private const PAUSE = [5_000_000, 30_000_000];

    /** Seconds before the loss from which a result may not have been received. */
    private const RECENT = 5.0;

    private float $lost = 0;

    private int $losses = 0;

    private float $resumed = 0;

    private float $owed = 0;

    /** There is a result that the runtime has to receive. */
    public function owes(): void
    {
        $this->owed = microtime(true);
    }

    /** The connection is lost. */
    public function lost(): void
    {
        if (($now = microtime(true)) > $this->resumed + self::LASTS) {
            [$this->lost, $this->losses] = [$now, 0];
        }
    }

    /** Whether to connect, after a pause if that was done before. */
    public function tries(): bool
    {
        $owes = (int) ($this->owed > $this->lost - self::RECENT);
        $this->losses > 1 && usleep(min(self::PAUSE[$owes], 50_000 << min($this->losses, 10)));
        $this->losses++;

        return microtime(true) < $this->lost + self::MOST[$owes];
    }

    /** Connected, though perhaps to a runtime that does not start. */
    public function resumed(): void
    {
        $this->resumed = microtime(true);
    }
}
