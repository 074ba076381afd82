<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Illuminate\Contracts\Foundation\Application;
use Illuminate\Contracts\Queue\Factory as QueueManager;
use Illuminate\Database\QueryException;
use Illuminate\Queue\CallQueuedHandler;
use Illuminate\Queue\Jobs\DatabaseJob;
use Illuminate\Queue\Jobs\DatabaseJobRecord;
use Illuminate\Queue\Jobs\Job;
use Illuminate\Queue\Jobs\RedisJob;
use RuntimeException;

/**
 * What a job's process died of, thrown inside Laravel in its stead: the job is then retried or failed by the app's own rules.
 */
final class WorkerCrashedException extends RuntimeException
{
}

/** What is left out in failing a job whose process has died, since one has died of that before. */
final class LastResort
{
    /** Nothing. */
    public const NONE = 0;

    /** The job's class is not loaded. */
    public const NO_CLASS = 1;

    /** Nobody is told either: it is written down as failed, or released. */
    public const ALONE = 2;
}

/**
 * A job of the driver's own class whose removal from the queue may be left to the runtime, which does many at once,
 * and which throws what its last process died of instead of running again.
 */
trait HandledByRuntime
{
    public ?WorkerCrashedException $crash = null;

    /** How much of the usual is left out in failing it, because a process has died of that: see {@see LastResort}. */
    public int $lastResort = LastResort::NONE;

    /** A process has died while Laravel failed it: there is no way back. */
    public bool $isFailing = false;

    /** @var (\Closure(): void)|null tells the app that the job begins, before it is told that it has failed */
    public ?\Closure $begin = null;

    /** @var (\Closure(Job, bool): bool)|null tells the runtime, at once or soon, to remove it; false when that is gone */
    public ?\Closure $acknowledge = null;

    public function fire()
    {
        if ($this->crash !== null) {
            $this->isFailing && $this->fail($this->crash);

            throw $this->crash;
        }

        parent::fire();
    }

    public function fail($e = null)
    {
        if ($this->lastResort === LastResort::ALONE) {
            $this->markAsFailed();
            Unloadable::writeDown($this->container, $this, $e);
            $this->delete();

            return;
        }

        if ($this->begin !== null) {
            [$begin, $this->begin] = [$this->begin, null];
            $begin();
        }

        parent::fail($e);
    }

    protected function failed($e)
    {
        $this->lastResort === LastResort::NONE ? parent::failed($e) : Unloadable::failed($this->container, $this, $e);
    }

    public function delete()
    {
        if ($this->isInTransaction()) {
            // The job is to go or to stay with the rest of it.
            parent::delete();

            return;
        }

        Job::delete();

        // At the end of a job, word of it can go with the call for the next one. From within a job it goes
        // at once: whatever happens to the process afterwards, the job is not to run again.
        $last = (debug_backtrace(DEBUG_BACKTRACE_IGNORE_ARGS, 2)[1]['class'] ?? '') === CallQueuedHandler::class;

        // A runtime that is gone can remove nothing: then it is Laravel's own way after all.
        if ($this->acknowledge === null || ! ($this->acknowledge)($this, $last)) {
            $this->remove();
        }
    }
}

final class RuntimeRedisJob extends RedisJob
{
    use HandledByRuntime;

    /** Decoded once: Laravel asks for it a dozen times in the life of a job, and the message does not change. */
    public function payload()
    {
        return $this->decoded ?? parent::payload();
    }

    public function remove(): void
    {
        $this->redis->deleteReserved($this->queue, $this);
    }

    private function isInTransaction(): bool
    {
        return false;
    }
}

/**
 * SQLite has one writer at a time, and Laravel reads before it writes: with several workers, its own way to delete
 * and to release ends in "database is locked" before long. Here both are tried again.
 */
final class RuntimeDatabaseJob extends DatabaseJob
{
    use HandledByRuntime;

    /** Seconds for which a locked database is tried again. */
    private const PATIENCE = 10;

    public function remove(): void
    {
        $this->patiently(fn () => $this->database->deleteReserved($this->queue, $this->job->id));
    }

    public function release($delay = 0)
    {
        if ($this->isInTransaction()) {
            parent::release($delay);

            return;
        }

        Job::release($delay);
        $this->patiently(fn () => $this->database->deleteAndRelease($this->queue, $this, $delay));
    }

    private function isInTransaction(): bool
    {
        return $this->database->getDatabase()->transactionLevel() > 0;
    }

    /** Each try is a transaction of its own, so one that failed has left nothing behind. */
    private function patiently(\Closure $write): void
    {
        for ($until = microtime(true) + self::PATIENCE; ; usleep(random_int(1_000, 20_000))) {
            try {
                $write();

                return;
            } catch (QueryException $e) {
                if (! str_contains($e->getMessage(), 'database is locked') || microtime(true) > $until) {
                    throw $e;
                }
            }
        }
    }
}

/**
 * Makes the job object of the driver out of what the runtime reserved.
 */
final class Jobs
{
    /** @param \Closure(Job, bool): bool $acknowledge see {@see HandledByRuntime::$acknowledge} */
    public function __construct(
        private Application $app,
        private QueueManager $manager,
        private string $connection,
        private \Closure $acknowledge,
    ) {
    }

    /**
     * @param array<string, mixed> $order the JOB frame's header
     * @param string $body the payload, and behind it the reserved copy of it
     */
    public function make(array $order, string $body): Job
    {
        $queue = $this->manager->connection($this->connection);
        $payload = substr($body, 0, $order['payload']);
        $replay = $order['replay'] ?? [];
        $lastResort = min((int) ($replay['last_resort'] ?? 0), LastResort::ALONE);
        $crash = $order['kind'] === 'crash' || $lastResort > 0 ? new WorkerCrashedException($order['cause'] ?? 'its process died') : null;
        // Where the runtime has no part in it, it is the driver's own class to the letter.
        $ours = $order['kind'] !== 'run' || $order['ack'] || isset($order['own']);

        if ($order['driver'] === 'redis') {
            $class = $ours ? RuntimeRedisJob::class : RedisJob::class;
            $job = new $class($this->app, $queue, $payload, substr($body, $order['payload']), $this->connection, $order['queue']);
        } else {
            $class = $ours ? RuntimeDatabaseJob::class : DatabaseJob::class;
            $record = new DatabaseJobRecord((object) ($order['row'] + ['queue' => $queue->getQueue($order['queue']), 'payload' => $payload]));
            // As Laravel does it: what it is called in the table, where a class of the app's own calls it otherwise.
            $job = new $class($this->app, $queue, $record, $this->connection, $record->queue);
        }

        if ($ours) {
            $job->crash = $crash;
            $job->lastResort = $lastResort;
            $job->isFailing = (bool) ($replay['failing'] ?? false);
            $job->acknowledge = $order['ack'] ? $this->acknowledge : null;
        }

        // Horizon counts a job as running, and its run time from, the moment of this event.
        if ($order['driver'] === 'redis' && ! $crash && $queue instanceof \Laravel\Horizon\RedisQueue) {
            $this->app['events']->dispatch((new \Laravel\Horizon\Events\JobReserved($job->getReservedJob()))->connection($this->connection)->queue($order['queue']));
        }

        return $job;
    }
}
