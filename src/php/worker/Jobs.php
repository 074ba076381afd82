<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Illuminate\Contracts\Foundation\Application;
use Illuminate\Contracts\Queue\Factory as QueueManager;
use Illuminate\Queue\CallQueuedHandler;
use Illuminate\Queue\Jobs\Job;
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

/** A job that uses {@see HandledByRuntime}. */
interface RuntimeJob extends \Illuminate\Contracts\Queue\Job
{
    /** Removes it from the queue in Laravel's own way. */
    public function remove(): void;
}

/**
 * Makes the job object of the driver out of what the runtime reserved.
 */
final class Jobs
{
    /** @var array<string, Driver> */
    private array $drivers = [];

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

        $driver = $this->drivers[$order['driver']] ??= Driver::named($order['driver']);
        $job = $driver->job($this->app, $queue, $this->connection, $order, $payload, substr($body, $order['payload']), $ours);

        if ($ours) {
            $job->crash = $crash;
            $job->lastResort = $lastResort;
            $job->isFailing = (bool) ($replay['failing'] ?? false);
            $job->acknowledge = $order['ack'] ? $this->acknowledge : null;
        }

        $crash || $driver->reserved($this->app, $queue, $this->connection, $job, $order['queue']);

        return $job;
    }
}

foreach (['Driver', 'RedisServers', 'RedisDriver', 'DatabaseDriver', 'SqsDriver', 'RuntimeRedisJob', 'RuntimeDatabaseJob', 'RuntimeSqsJob'] as $class) {
    // Some are there already, unless the program that needs us is of the version before.
    require_once __DIR__."/{$class}.php";
}
