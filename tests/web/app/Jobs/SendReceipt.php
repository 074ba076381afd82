<?php

declare(strict_types=1);

namespace App\Jobs;

use Illuminate\Bus\Queueable;
use Illuminate\Contracts\Queue\ShouldQueue;
use Illuminate\Queue\InteractsWithQueue;

class SendReceipt implements ShouldQueue
{
    use InteractsWithQueue;
    use Queueable;


    public function __construct(public int $number = 0)
    {
    }

    public function handle(): void
    {
        usleep(random_int(8_000, 30_000));
    }
}
