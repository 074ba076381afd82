<?php

declare(strict_types=1);

namespace App\Jobs;

/** Takes a while, asleep. */
class Sleeps extends Recorded
{
    public function __construct(public int $ms)
    {
    }

    protected function act(): void
    {
        usleep($this->ms * 1000);
    }
}
