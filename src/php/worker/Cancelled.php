<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Illuminate\Bus\Batchable;
use Illuminate\Contracts\Foundation\Application;
use Illuminate\Contracts\Queue\ShouldBeUniqueUntilProcessing;
use Illuminate\Queue\CallQueuedHandler;
use Illuminate\Queue\Jobs\Job;
use Illuminate\Queue\Jobs\JobName;
use RuntimeException;
use Throwable;

/** What a job fails with that an operator has cancelled. */
final class CancelledException extends RuntimeException
{
}

/**
 * What becomes of a job that an operator has cancelled and that is ours: it fails in Laravel's own way, so that its batch, its
 * chain and whoever listens are told and its lock goes; or it is deleted, as a job that deletes itself.
 */
final class Cancelled
{
    /**
     * @param string $cause `cancelled by USER`
     * @param bool $unrun it has not been begun since it was taken off the queue
     */
    public static function settle(Application $app, Job $job, string $cause, bool $delete, bool $unrun): void
    {
        $delete ? $job->delete() : $job->fail(new CancelledException($cause));

        if (! $delete && ! $unrun) {
            return;
        }

        $payload = $job->payload();

        if (! is_a(JobName::parse((string) ($payload['job'] ?? ''))[0], CallQueuedHandler::class, true)) {
            return;
        }

        // Until it begins for the first time, it has the lock that others let go as they begin.
        $first = $unrun && $job->attempts() <= 1;
        $uuid = (string) $job->uuid();

        \Closure::bind(function () use ($payload, $delete, $first, $uuid): void {
            $command = $this->getCommand($payload['data']);

            if ($delete ? $first || ! $command instanceof ShouldBeUniqueUntilProcessing : $first && $command instanceof ShouldBeUniqueUntilProcessing) {
                $this->ensureUniqueJobLockIsReleased($command);
            }

            if ($delete && in_array(Batchable::class, class_uses_recursive($command), true)) {
                $command->batch()?->recordSuccessfulJob($uuid);
            }
        }, $app->make(CallQueuedHandler::class), CallQueuedHandler::class)();
    }

    /** The same; what is thrown on the way is reported, as a worker does. */
    public static function settleAndReport(Application $app, Job $job, string $cause, bool $delete, bool $unrun): void
    {
        try {
            self::settle($app, $job, $cause, $delete, $unrun);
        } catch (Throwable $e) {
            $app->make(\Illuminate\Contracts\Debug\ExceptionHandler::class)->report($e);
        }
    }
}
