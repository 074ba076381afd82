<?php

declare(strict_types=1);

namespace App\Jobs;

/** Takes a while, and has a timeout that is not the number of seconds that one expects. */
class Limited extends Recorded
{
    /** @var mixed */
    public $timeout;

    protected function act(): void
    {
        for ($end = hrtime(true) + 1.3e9; hrtime(true) < $end;) {
            // Nothing that a signal could cut short.
        }
    }
}
