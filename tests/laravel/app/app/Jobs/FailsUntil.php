<?php

declare(strict_types=1);

namespace App\Jobs;

/** Fails itself; it could be tried for ten minutes. */
class FailsUntil extends Fails
{
    public function retryUntil(): int
    {
        return time() + 600;
    }
}
