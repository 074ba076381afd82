<?php

declare(strict_types=1);

namespace App\Jobs;

use App\Journal;
use Illuminate\Contracts\Queue\Interruptible;

/** Runs until it is asked to stop, or for very long. Laravel 13.7 and later. */
class Stoppable extends Recorded implements Interruptible
{
    private bool $stop = false;

    public function interrupted(int $signal): void
    {
        Journal::write('interrupted', ['signal' => $signal]);
        $this->stop = true;
    }

    protected function act(): void
    {
        for ($end = hrtime(true) + 30e9; ! $this->stop && hrtime(true) < $end;) {
            usleep(5000);
        }
    }
}
