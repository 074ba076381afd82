<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Illuminate\Queue\Events\JobTimedOut;
use Illuminate\Queue\Worker;
use Illuminate\Queue\WorkerOptions;
use Throwable;

/**
 * Settles a job whose process has died: Laravel decides, by the job's own rules.
 */
final class Replay
{
    public function __construct(private Boot $boot, private Worker $worker)
    {
    }

    /**
     * Whether Laravel's loop is to handle a job that is not simply run (see `kind` of JOB). Otherwise it has been
     * settled here.
     *
     * @param array<string, mixed> $order
     */
    public function isForLaravel(RuntimeJob $job, array $order): bool
    {
        if ($order['kind'] === 'cancel') {
            $how = $order['replay'] ?? [];
            Cancelled::settleAndReport($this->boot->app, $job, $order['cause'] ?? 'cancelled', (bool) ($how['delete'] ?? false), (bool) ($how['unrun'] ?? false));

            return false;
        }

        if ($job->isFailing && Unloadable::isWrittenDown($this->boot->app, $job)) {
            $job->markAsFailed();
            $job->delete();

            return false;
        }

        if ($order['kind'] === 'crash' && $job->lastResort !== LastResort::ALONE) {
            return true;
        }

        $this->settle($job, $order['kind'], $order['replay']);

        return false;
    }

    /**
     * Does what Laravel's own timeout alarm would have done, for a process that was killed because it could not handle
     * the alarm: the job fails if it may not run again. If it may, Laravel leaves it reserved until `retry_after`; here
     * it is released with its backoff, unless the settings say otherwise.
     *
     * @param string $kind `release` when the alarm itself has fired, and has done the counting
     * @param array{tries: int, backoff: string, release: bool} $defaults
     */
    private function settle(RuntimeJob $job, string $kind, array $defaults): void
    {
        $connection = $this->boot->connection();
        $options = new WorkerOptions('kqueue', $defaults['backoff'], maxTries: $defaults['tries']);

        try {
            (function () use ($connection, $job, $kind, $options, $defaults): void {
                // Listeners that keep a record of each job start it with this event, raised only in the dead process.
                $job->begin = fn () => $this->raiseBeforeJobEvent($connection, $job);

                if ($job->isFailing) {
                    $job->fail($job->crash);
                } elseif ($kind !== 'release' || $job->lastResort > LastResort::NONE) {
                    $e = $job->crash
                        ?? (method_exists($this, 'timeoutExceededException') ? $this->timeoutExceededException($job) : $this->maxAttemptsExceededException($job));
                    $this->markJobAsFailedIfWillExceedMaxAttempts($connection, $job, $options->maxTries, $e);
                    $this->markJobAsFailedIfWillExceedMaxExceptions($connection, $job, $e);

                    if ($kind !== 'crash' && method_exists($this, 'markJobAsFailedIfItShouldFailOnTimeout')) {
                        $this->markJobAsFailedIfItShouldFailOnTimeout($connection, $job, $e);
                    }
                }

                if ($defaults['release'] && ! $job->isDeletedOrReleased() && ! $job->hasFailed()) {
                    $job->release($this->calculateBackoff($job, $options));
                }
            })->call($this->worker);

            if ($kind === 'timeout' && class_exists(JobTimedOut::class)) {
                $this->boot->app['events']->dispatch(new JobTimedOut($connection, $job));
            }
        } catch (Throwable $e) {
            $this->boot->app->make(\Illuminate\Contracts\Debug\ExceptionHandler::class)->report($e);
        }
    }
}
