<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Illuminate\Contracts\Foundation\Application;
use Illuminate\Contracts\Queue\Factory as QueueManager;
use Illuminate\Queue\CallQueuedHandler;
use Illuminate\Queue\Jobs\Job;
use RuntimeException;

/**
 * Why a job's process died. Thrown inside Laravel in place of running the job, which is then retried or failed by the
 * app's own rules.
 */
final class WorkerCrashedException extends RuntimeException
{
}

/** What is skipped in failing a job whose process has died, because another process has died in it before. */
final class LastResort
{
    /** Nothing is skipped. */
    public const NONE = 0;

    /** The job's class is not loaded. */
    public const NO_CLASS = 1;

    /** No listener is called either: the job is recorded as failed, or released. */
    public const ALONE = 2;
}

/**
 * A job of the driver's own class whose removal from the queue may be left to the runtime, which removes many at once.
 * Where its last process has died, it throws the cause instead of running again.
 */
trait HandledByRuntime
{
    public ?WorkerCrashedException $crash = null;

    /** What is skipped in failing it: a constant of {@see LastResort}. */
    public int $lastResort = LastResort::NONE;

    /** A process has died while Laravel failed it: it has to fail. */
    public bool $isFailing = false;

    /** @var (\Closure(): void)|null raises the event of the job's start, before those of its failure */
    public ?\Closure $begin = null;

    /** @var (\Closure(Job, bool): bool)|null has the runtime remove it, now or soon; false when the runtime is gone */
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
            // The removal is to be part of the transaction.
            parent::delete();

            return;
        }

        Job::delete();

        // At the end of a job, the runtime is told with the request for the next one. Within a job it is told at once:
        // whatever happens to the process afterwards, the job must not run again.
        $last = (debug_backtrace(DEBUG_BACKTRACE_IGNORE_ARGS, 2)[1]['class'] ?? '') === CallQueuedHandler::class;

        // Without a runtime, the job is removed in Laravel's own way.
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
 * Makes the driver's job object from what the runtime has reserved.
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
        // Where the runtime takes no part in the job, its class is exactly the driver's own.
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
    // worker.php has loaded some of them, unless it is of the previous version.
    require_once __DIR__."/{$class}.php";
}
