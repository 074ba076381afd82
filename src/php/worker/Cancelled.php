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

/** The exception that a job cancelled by an operator fails with. */
final class CancelledException extends RuntimeException
{
}

/**
 * Settles a reserved job that an operator has cancelled: fails it in Laravel's own way, which updates its batch and
 * chain, calls listeners and releases its lock; or deletes it, like a job that deletes itself.
 */
final class Cancelled
{
    /**
     * @param string $cause `cancelled by USER`
     * @param bool $unrun it has not been started since it was reserved
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

        // Before its first run, it still has the lock that ShouldBeUniqueUntilProcessing jobs release as they start.
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

    /** Like {@see settle()}; exceptions are reported, as a worker does. */
    public static function settleAndReport(Application $app, Job $job, string $cause, bool $delete, bool $unrun): void
    {
        try {
            self::settle($app, $job, $cause, $delete, $unrun);
        } catch (Throwable $e) {
            $app->make(\Illuminate\Contracts\Debug\ExceptionHandler::class)->report($e);
        }
    }
}
