<?php

declare(strict_types=1);

namespace App\Jobs;

use App\Journal;
use App\Release;
use App\ReleaseLater;

/** Says which release it runs on: by a class that it needs at once, and by one that it needs only once it may go on. */
class Deployed extends Recorded
{
    /** @param string|null $gate a file: the job goes on when it is there */
    public function __construct(public ?string $gate = null)
    {
    }

    protected function act(): void
    {
        $first = Release::NAME;
        while ($this->gate !== null && ! is_file($this->gate)) {
            usleep(5000);
            clearstatcache();
        }
        Journal::write('release', ['first' => $first, 'later' => ReleaseLater::NAME, 'base' => basename(base_path())] + Journal::about($this->job));
    }
}
