<?php

declare(strict_types=1);

namespace App\Jobs;

use Illuminate\Support\Facades\Artisan;

/** Works another queue, one job of it. */
class WorksOnce extends Recorded
{
    public function __construct(public string $other)
    {
    }

    protected function act(): void
    {
        Artisan::call('queue:work', ['--once' => true, '--queue' => $this->other]);
    }
}
