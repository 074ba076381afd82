<?php

declare(strict_types=1);

namespace Kqueue\Tests;

use Illuminate\Cache\DatabaseStore;
use Illuminate\Cache\RedisStore;

/** Assertions of scenarios. */
trait Expectations
{
    use Assertions;

    /** Handlers were entered $count times. */
    public function expectRuns(int $count, ?string $uuid = null): void
    {
        $this->expectSame($count, count($this->journal('start', $uuid)), 'runs');
    }

    /**
     * Each of these jobs started once and ended once, and no other job did.
     *
     * @param list<string> $uuids
     */
    public function expectOnce(array $uuids): void
    {
        foreach (['start', 'end'] as $what) {
            $times = array_count_values(array_column($this->journal($what), 'uuid'));
            $twice = array_filter($times, static fn (int $count): bool => $count > 1);
            $this->expectSame([], $twice, "jobs with more than one {$what}");
            $this->expectSame([], array_values(array_diff($uuids, array_keys($times))), "jobs without {$what}");
            $this->expectSame(count($uuids), count($times), "jobs with {$what}");
        }
    }

    /**
     * `attempts()` as the job saw it, run by run.
     *
     * @param list<int> $attempts
     */
    public function expectAttempts(array $attempts, ?string $uuid = null): void
    {
        $this->expectSame($attempts, array_column($this->journal('start', $uuid), 'attempts'), 'attempts seen by the runs');
    }

    /**
     * The queue holds exactly this. What is not named must not be there.
     *
     * @param int|null $attempts attempts stored with the one job there is
     * @param int|null $dueIn seconds from the last fact until the one job is due, with a tolerance of one
     */
    public function expectQueue(int $ready = 0, int $delayed = 0, int $reserved = 0, int $broken = 0, ?int $attempts = null, ?int $dueIn = null, string $queue = 'default'): void
    {
        $state = $this->backend->state($queue);
        $this->expectSame(compact('ready', 'delayed', 'reserved', 'broken'), $state->counts(), 'queue');
        $job = ($state->ready[0] ?? $state->delayed[0] ?? $state->reserved[0] ?? null);
        if ($attempts !== null) {
            $this->expectSame($attempts, $job['attempts'] ?? null, 'attempts stored');
        }
        if ($dueIn !== null) {
            $facts = array_filter($this->journal(), static fn (array $fact): bool => ($fact['event'] ?? '') !== 'WorkerStopping');
            $in = $job['due'] - (int) end($facts)['t'];
            $this->expect(abs($in - $dueIn) <= 1, "due in {$dueIn} s (it is {$in} s)");
        }
    }

    /** Nothing of any queue is left on the server. */
    public function expectGone(): void
    {
        $this->expectSame([], $this->backend->leftovers(), 'left on the server');
    }

    /**
     * The number of rows in failed_jobs, and what every one of them contains.
     *
     * @param string|null $exception text within the recorded exception
     */
    public function expectFailed(int $count, ?string $exception = null, ?string $uuid = null): void
    {
        $rows = $this->failed();
        $this->expectSame($count, count($rows), 'failed_jobs');
        foreach ($rows as $row) {
            $this->expectSame($this->sandbox->driver, $row['connection'], 'connection of the failed job');
            if ($exception !== null) {
                $this->expectContains($exception, $row['exception'], 'exception of the failed job');
            }
            if ($uuid !== null) {
                $this->expectSame($uuid, $row['uuid'], 'uuid of the failed job');
            }
        }
    }

    /**
     * The app's cache holds exactly these keys, including locks.
     *
     * @param list<string> $keys
     */
    public function expectCache(array $keys = []): void
    {
        $store = $this->laravel['cache']->store()->getStore();
        $prefix = match (true) {
            $store instanceof RedisStore => $this->sandbox->prefix . $store->getPrefix(),
            $store instanceof DatabaseStore => $store->getPrefix(),
            default => '',
        };
        $keys = array_map(static fn (string $key): string => $prefix . $key, $keys);
        $found = $this->backend->cacheKeys($keys);
        sort($keys);
        sort($found);
        $this->expectSame($keys, $found, 'keys in the cache');
    }

    /** The name of the lock that a unique job is dispatched under. */
    public function uniqueLock(object $job): string
    {
        return 'laravel_unique_job:' . get_class($job) . ($this->laravelIs('11') ? ':' : '') . $job->uniqueId();
    }

    /** The row of the only batch. */
    public function expectBatch(int $total, int $pending, int $failed, bool $cancelled, bool $finished): void
    {
        $rows = $this->sandbox->database()->query('select * from job_batches')->fetchAll();
        $this->expectSame(1, count($rows), 'job_batches');
        $this->expectSame(compact('total', 'pending', 'failed', 'cancelled', 'finished'), [
            'total' => (int) $rows[0]['total_jobs'],
            'pending' => (int) $rows[0]['pending_jobs'],
            'failed' => (int) $rows[0]['failed_jobs'],
            'cancelled' => $rows[0]['cancelled_at'] !== null,
            'finished' => $rows[0]['finished_at'] !== null,
        ], 'the batch');
        $this->expectSame($failed, count(json_decode($rows[0]['failed_job_ids'], true)), 'failed_job_ids');
    }

    /**
     * Events of the queue in order, with `failed` (the job's own hook) and `report` (the exception handler) where they
     * occurred. Events that the running version does not have are not expected; WorkerStopping is left out unless it is
     * named.
     *
     * @param list<string> $expected
     * @param string|null $uuid only what names this job: its events, not its hook and not a report
     */
    public function expectEvents(array $expected, ?string $uuid = null): void
    {
        $known = array_values(array_filter($expected, static fn (string $name): bool => ctype_lower($name[0])
            || class_exists("Illuminate\\Queue\\Events\\{$name}")));
        $this->expectSame($known, $this->events(in_array('WorkerStopping', $expected, true), $uuid), 'events');
    }

    /** @return list<string> */
    public function events(bool $stops = false, ?string $uuid = null): array
    {
        $events = [];
        $facts = $this->journal(uuid: $uuid);
        if (count(array_unique(array_column($facts, 'uuid'))) === 1) {
            $facts = Facts::byAttempt($facts);
        }
        foreach ($facts as $fact) {
            $name = $fact['what'] === 'event' ? $fact['event'] : $fact['what'];
            if (in_array($fact['what'], ['event', 'failed', 'report'], true) && ($stops || $name !== 'WorkerStopping')) {
                $events[] = $name;
            }
        }

        return $events;
    }

    /** The name that this version gives to the exception of a job that ran too long. */
    public function timeoutException(): string
    {
        return $this->laravelIs('10.10') ? 'TimeoutExceededException' : 'MaxAttemptsExceededException';
    }
}
