<?php

declare(strict_types=1);

namespace App\Jobs;

use Illuminate\Bus\Queueable;
use Illuminate\Contracts\Queue\ShouldQueue;
use Illuminate\Queue\InteractsWithQueue;

class SyncStock implements ShouldQueue
{
    use InteractsWithQueue;
    use Queueable;

    public int $tries = 3;

    public function __construct(public int $number = 0)
    {
    }

    public function handle(): void
    {
        usleep(random_int(20_000, 60_000));
        if ($this->number % 7 === 0) {
            throw new \RuntimeException("the warehouse does not answer: <b>timeout</b> for item {$this->number}");
        }
    }
}
