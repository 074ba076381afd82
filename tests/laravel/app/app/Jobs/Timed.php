<?php

declare(strict_types=1);

namespace App\Jobs;

use Illuminate\Bus\Queueable;
use Illuminate\Contracts\Queue\ShouldQueue;
use Illuminate\Queue\InteractsWithQueue;
use Illuminate\Queue\SerializesModels;

/** An empty job for the benchmarks. Where it is given a file, it writes when it was made and when it started. */
class Timed implements ShouldQueue
{
    use InteractsWithQueue;
    use Queueable;
    use SerializesModels;

    public float $made;

    public function __construct(public ?string $file = null, public bool $isolated = false, public int $ms = 0, public ?string $until = null)
    {
        $this->made = microtime(true);
    }

    public function handle(): void
    {
        if ($this->file !== null) {
            file_put_contents($this->file, sprintf("%.6f %.6f\n", $this->made, microtime(true)), FILE_APPEND);
        }
        $this->ms && usleep($this->ms * 1000);
        for (; $this->until !== null && ! file_exists($this->until); usleep(20_000)) {
            clearstatcache();
        }
    }
}
