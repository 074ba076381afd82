<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Illuminate\Contracts\Foundation\Application;
use Illuminate\Contracts\Queue\Queue;
use Illuminate\Queue\Jobs\Job;

/**
 * A Laravel queue driver that the runtime serves: describes the app's connection to the runtime, and makes the job
 * objects for what it has reserved there. One class per driver; the runtime's `backend` module says how to add one.
 */
abstract class Driver
{
    /** By Laravel's name, which a JOB frame carries. */
    private const ALL = ['redis' => RedisDriver::class, 'database' => DatabaseDriver::class, 'sqs' => SqsDriver::class];

    /** Laravel's class of such a queue. */
    public const QUEUE = '';

    /** Laravel's classes that its jobs need, for the template to load. */
    public const JOBS = [];

    /** The driver with this name; null for one that the runtime cannot serve. */
    public static function named(string $name): ?self
    {
        $class = self::ALL[$name] ?? null;

        return $class === null ? null : new $class;
    }

    /** The driver of a queue object, by its class or a parent of it; null for one that the runtime cannot serve. */
    public static function of(?object $queue): ?self
    {
        foreach (self::ALL as $class) {
            if (is_a((object) $queue, $class::QUEUE)) {
                return new $class;
            }
        }

        return null;
    }

    /** @return list<class-string> classes that the jobs of all drivers need */
    public static function classes(): array
    {
        return array_merge(...array_map(static fn (string $class): array => $class::JOBS, array_values(self::ALL)));
    }

    /**
     * What the runtime needs to access the queue itself.
     *
     * @param array<string, mixed> $fields of the queue object
     * @return array<string, mixed>
     */
    abstract public function describe(Application $app, array $fields): array;

    /**
     * The driver's job object for what the runtime has reserved.
     *
     * @param array<string, mixed> $order the JOB frame's header
     * @param string $payload as it was queued
     * @param string $receipt what follows the payload in the frame's body
     * @param bool $ours whether the runtime takes part in the job: then it is a {@see RuntimeJob}
     */
    abstract public function job(Application $app, Queue $queue, string $connection, array $order, string $payload, string $receipt, bool $ours): Job;

    /**
     * Throws a {@see Misconfigured} for errors that Laravel would report less clearly.
     *
     * @param array<string, mixed> $config of the queue connection
     */
    public function expect(Application $app, array $config): void
    {
    }

    /** The stored name of a queue, as the queue object makes it. */
    public function name(Queue $queue, string $name): string
    {
        return (string) $queue->getQueue($name);
    }

    /**
     * Whether the runtime may remove finished jobs in place of Laravel's own class.
     *
     * @param array<string, mixed> $backend the result of {@see describe()}
     */
    public function isPlain(array $backend): bool
    {
        return true;
    }

    /** Called when a job has been made and is about to run. */
    public function reserved(Application $app, Queue $queue, string $connection, Job $job, string $name): void
    {
    }

    /**
     * The extension or Composer package that it lacks; null if none.
     *
     * @param array<string, mixed> $settings of the queue connection
     */
    public function lacks(\ArrayAccess $config, array $settings): ?string
    {
        return null;
    }

    /**
     * The name of a long table without an index for the query that pops a job; null otherwise.
     *
     * @param array<string, mixed> $backend the result of {@see describe()}
     * @param array<string, mixed> $settings of the queue connection
     */
    public function unindexed(Application $app, array $backend, array $settings): ?string
    {
        return null;
    }

    /**
     * @param array<string, mixed> $backend the result of {@see describe()}
     * @return list<string> files that the app's user writes to
     */
    public function files(array $backend): array
    {
        return [];
    }

    /** The result of {@see Horizon::describe()} for the connection. @return array<string, mixed>|null */
    public function horizon(Application $app, string $connection): ?array
    {
        return null;
    }
}
