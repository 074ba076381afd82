<?php

declare(strict_types=1);

namespace App\Actions;

use App\Journal;
use Illuminate\Contracts\Queue\Job;

/** One that takes long, as it says. No job itself: a package's job carries it. */
class Slow
{
    /** @var mixed read by kqueue */
    public $estimatedDuration = 10;

    public function asJob(Job $job, int $id): void
    {
        Journal::write('end', ['class' => class_basename($this), 'id' => $id] + Journal::about($job));
    }

    /** A name for people, of each job its own. */
    public function getJobDisplayName(int $id): string
    {
        return "Slow thing no. {$id}";
    }
}
