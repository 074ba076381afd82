<?php

declare(strict_types=1);

namespace App\Jobs;

use Illuminate\Bus\Queueable;
use Illuminate\Contracts\Queue\ShouldQueue;
use Illuminate\Queue\InteractsWithQueue;

class RenderVideo implements ShouldQueue
{
    use InteractsWithQueue;
    use Queueable;

    public bool $isolated = true;

    public int $maxMemory = 256;

    public int $timeout = 120;

    public function __construct(public int $number = 0)
    {
    }

    public function handle(): void
    {
        $frames = str_repeat("x", 40 << 20);
        $end = microtime(true) + 4 + $this->number;
        while (microtime(true) < $end) {
            usleep(50_000);
        }
        unset($frames);
    }
}
