<?php

declare(strict_types=1);

namespace App\Actions;

use App\Journal;
use Illuminate\Contracts\Queue\Job;

/** One that asks for a process of its own. No job itself: a package's job carries it. */
class Alone
{
    /** @var mixed read by kqueue */
    public $isolated = true;

    public function asJob(Job $job, int $id): void
    {
        Journal::write('end', ['class' => class_basename($this), 'id' => $id] + Journal::about($job));
    }
}
