<?php

declare(strict_types=1);

namespace App\Jobs;

/** Keeps PHP busy; without a bound, until something stops it. */
class Loops extends Recorded
{
    public function __construct(public ?float $seconds = null)
    {
    }

    protected function act(): void
    {
        $end = hrtime(true) + ($this->seconds ?? 600) * 1e9;
        while (hrtime(true) < $end) {
            // busy: a signal handler of PHP can run at every turn
        }
    }
}
