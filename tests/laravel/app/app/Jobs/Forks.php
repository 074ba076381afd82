<?php

declare(strict_types=1);

namespace App\Jobs;

use RuntimeException;

/** Forks a child that ends with exit(), that throws, or that comes back out of the job; waits for it. */
class Forks extends Recorded
{
    public function __construct(private string $way)
    {
    }

    protected function act(): void
    {
        $child = pcntl_fork();
        if ($child === 0) {
            match ($this->way) {
                'exits' => exit(0),
                'fails' => eval('function twice() {} function twice() {}'),
                'throws' => throw new RuntimeException('in a child'),
                'returns' => null,
            };

            return;
        }
        // Not pcntl_wait(), which may meet another.
        while (pcntl_waitpid($child, $status) !== $child) {
        }
    }
}
