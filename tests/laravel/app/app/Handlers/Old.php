<?php

declare(strict_types=1);

namespace App\Handlers;

use App\Journal;
use Illuminate\Contracts\Queue\Job;
use RuntimeException;

/**
 * A job of the oldest kind: a class name and data.
 *
 * `data` steers it: `delete` (default true) deletes the job at the end, as such handlers have to;
 * `throws` so many attempts throw.
 */
class Old
{
    /** @param array<string, mixed> $data */
    public function fire(Job $job, array $data): void
    {
        Journal::write('start', ['class' => 'Old', 'data' => $data, 'sha1' => sha1($job->getRawBody())] + Journal::about($job));
        if ($job->attempts() <= ($data['throws'] ?? 0)) {
            throw new RuntimeException('thrown on purpose');
        }
        if ($data['delete'] ?? true) {
            $job->delete();
        }
        Journal::write('end', ['class' => 'Old'] + Journal::about($job));
    }

    /** @param array<string, mixed> $data */
    public function failed(array $data): void
    {
        Journal::write('failed', ['class' => 'Old']);
    }
}
