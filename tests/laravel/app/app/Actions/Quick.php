<?php

declare(strict_types=1);

namespace App\Actions;

use App\Journal;
use Illuminate\Contracts\Queue\Job;

/** One that asks for a lane. No job itself: a package's job carries it. */
class Quick
{
    /** @var mixed read by kqueue */
    public $isolated = false;

    public function asJob(Job $job, int $id): void
    {
        Journal::write('end', ['class' => class_basename($this), 'id' => $id] + Journal::about($job));
    }
}
