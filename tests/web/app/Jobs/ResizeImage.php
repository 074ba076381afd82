<?php

declare(strict_types=1);

namespace App\Jobs;

use Illuminate\Bus\Queueable;
use Illuminate\Contracts\Queue\ShouldQueue;
use Illuminate\Queue\InteractsWithQueue;

class ResizeImage implements ShouldQueue
{
    use InteractsWithQueue;
    use Queueable;

    public int $estimatedDuration = 5;

    public function __construct(public int $number = 0)
    {
    }

    public function handle(): void
    {
        usleep(random_int(200_000, 900_000));
    }
}
