<?php

declare(strict_types=1);

namespace App\Listeners;

use App\Ev;
use App\Journal;
use Illuminate\Contracts\Queue\ShouldQueue;
use Illuminate\Queue\InteractsWithQueue;

/** The queued listener that the payload fixtures name. */
class Ls implements ShouldQueue
{
    use InteractsWithQueue;

    /** @var int */
    public $tries = 4;

    /** @var int */
    public $timeout = 44;

    public function handle(Ev $event): void
    {
        $facts = ['class' => 'Ls', 'x' => $event->x] + Journal::about($this->job);
        Journal::write('start', $facts + ['sha1' => sha1($this->job->getRawBody())]);
        Journal::write('end', $facts);
    }
}
