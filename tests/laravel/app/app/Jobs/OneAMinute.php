<?php

declare(strict_types=1);

namespace App\Jobs;

use Illuminate\Queue\Middleware\RateLimited;

/** Runs once a minute, by the limiter of that name. */
class OneAMinute extends Recorded
{
    /** @return list<object> */
    public function middleware(): array
    {
        return [new RateLimited('one-a-minute')];
    }

    protected function act(): void
    {
    }
}
