<?php

declare(strict_types=1);

namespace App\Jobs;

/** Puts itself back, on the first so many attempts, and may throw after that. */
class Releases extends Recorded
{
    public function __construct(public int $seconds, public bool $throws = false, public int $times = 1)
    {
    }

    protected function act(): void
    {
        if ($this->attempts() <= $this->times) {
            $this->release($this->seconds);
            if ($this->throws) {
                throw new \RuntimeException('thrown after release');
            }
        }
    }
}
