<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Illuminate\Contracts\Events\Dispatcher;
use Illuminate\Queue\Events\JobExceptionOccurred;
use Illuminate\Queue\Events\JobProcessed;
use Illuminate\Contracts\Queue\Job;
use Illuminate\Queue\Worker;

/**
 * A `queue:work` that a job runs. It uses the same worker object as the job, and leaves it renamed: without the name
 * that our pop callback is registered under, the worker would then take jobs from the queue by itself.
 */
final class Nested
{
    /** Restores the worker's name before it pops its next job. */
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

    /** Ends the worker's loop after this job, but not that of a `queue:work` that the job runs. */
    public static function quitAfter(Job $job, Worker $worker, Dispatcher $events): void
    {
        $events->listen([JobProcessed::class, JobExceptionOccurred::class], static function (JobProcessed|JobExceptionOccurred $event) use ($job, $worker): void {
            if ($event->job === $job) {
                $worker->shouldQuit = true;
            }
        });
    }

    /** Whether the caller is inside the loop of a nested `queue:work`. */
    public static function runs(): bool
    {
        $loops = array_filter(
            debug_backtrace(DEBUG_BACKTRACE_IGNORE_ARGS),
            static fn (array $frame): bool => $frame['function'] === 'daemon' && ($frame['class'] ?? '') === Worker::class,
        );

        return count($loops) > 1;
    }
}
