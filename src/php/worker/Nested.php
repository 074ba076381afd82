<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Illuminate\Contracts\Events\Dispatcher;
use Illuminate\Queue\Events\JobExceptionOccurred;
use Illuminate\Queue\Events\JobProcessed;
use Illuminate\Contracts\Queue\Job;
use Illuminate\Queue\Worker;

/**
 * A `queue:work` that a job runs. It uses the very worker that runs the job, and leaves it under its own name: without
 * the one that our pop callback is registered under, the worker would go on to take jobs from the queue by itself.
 */
final class Nested
{
    /** Gives the worker its name back before it looks for its next job. */
    public static function guard(Worker $worker): void
    {
        (function (): void {
            $reset = $this->resetScope;
            $this->resetScope = function () use ($reset): void {
                if ($this->name !== 'kqueue' && ! Nested::runs()) {
                    $this->name = 'kqueue';
                }

                $reset !== null && $reset();
            };
        })->call($worker);
    }

    /** Ends the worker's loop after this job, and not the one of a `queue:work` that the job runs. */
    public static function quitAfter(Job $job, Worker $worker, Dispatcher $events): void
    {
        $events->listen([JobProcessed::class, JobExceptionOccurred::class], static function (JobProcessed|JobExceptionOccurred $event) use ($job, $worker): void {
            if ($event->job === $job) {
                $worker->shouldQuit = true;
            }
        });
    }

    /** Whether whoever calls is called from such a loop, and not from ours. */
    public static function runs(): bool
    {
        $loops = array_filter(
            debug_backtrace(DEBUG_BACKTRACE_IGNORE_ARGS),
            static fn (array $frame): bool => $frame['function'] === 'daemon' && ($frame['class'] ?? '') === Worker::class,
        );

        return count($loops) > 1;
    }
}
