<?php

declare(strict_types=1);

namespace App\Jobs;

/** Ends the process. */
class Exits extends Recorded
{
    public function __construct(public int $code, public int $times = PHP_INT_MAX)
    {
    }

    protected function act(): void
    {
        if ($this->attempts() <= $this->times) {
            exit($this->code);
        }
    }
}
