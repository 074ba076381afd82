<?php

declare(strict_types=1);

namespace App\Jobs;

use Illuminate\Queue\Middleware\WithoutOverlapping;

/** Runs by itself: another at the same time is released, or dropped. It waits for a file, or ends its process. */
class Alone extends Recorded
{
    public function __construct(public ?string $until = null, public bool $drop = false, public bool $exits = false)
    {
    }

    /** @return list<object> */
    public function middleware(): array
    {
        $alone = new WithoutOverlapping('one');

        return [$this->drop ? $alone->dontRelease() : $alone->releaseAfter(20)];
    }

    protected function act(): void
    {
        $this->exits && exit(0);
        while ($this->until !== null && ! file_exists($this->until)) {
            usleep(5000);
        }
    }
}
