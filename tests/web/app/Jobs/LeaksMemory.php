<?php

declare(strict_types=1);

namespace App\Jobs;

use Illuminate\Bus\Queueable;
use Illuminate\Contracts\Queue\ShouldQueue;
use Illuminate\Queue\InteractsWithQueue;

class LeaksMemory implements ShouldQueue
{
    use InteractsWithQueue;
    use Queueable;

    public bool $isolated = true;

    public int $maxMemory = 64;

    public function __construct(public int $number = 0)
    {
    }

    public function handle(): void
    {
        $hoard = [];
        while (true) {
            $hoard[] = str_repeat("x", 1 << 20);
        }
    }
}
