<?php

declare(strict_types=1);

namespace App\Jobs;

/** Throws, on the first so many attempts. */
class Throws extends Recorded
{
    public function __construct(public int $times = PHP_INT_MAX, public string $exception = \RuntimeException::class)
    {
    }

    protected function act(): void
    {
        if ($this->attempts() <= $this->times) {
            throw new ($this->exception)('thrown on purpose');
        }
    }
}
