<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Illuminate\Contracts\Foundation\Application;
use Illuminate\Contracts\Queue\Queue;
use Illuminate\Queue\Jobs\Job;

/**
 * One of Laravel's queue drivers that the runtime serves: what the runtime is told of the app's connection, and the job
 * object for what it has reserved there. One class for each; how to add one is said in the runtime's `backend` module.
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

    /** The driver of a queue object, whatever class of the app's own it has. */
    public static function of(?object $queue): ?self
    {
        foreach (self::ALL as $class) {
            if (is_a((object) $queue, $class::QUEUE)) {
                return new $class;
            }
        }

        return null;
    }

    /** @return list<class-string> what the jobs of all drivers need */
    public static function classes(): array
    {
        return array_merge(...array_map(static fn (string $class): array => $class::JOBS, array_values(self::ALL)));
    }

    /**
     * What the runtime needs in order to speak to the queue itself.
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
     * @param string $receipt what is behind it in the frame's body
     * @param bool $ours whether the runtime has a part in the job: then it is a {@see RuntimeJob}
     */
    abstract public function job(Application $app, Queue $queue, string $connection, array $order, string $payload, string $receipt, bool $ours): Job;

    /** Fails with a {@see Misconfigured} where Laravel would say something less to the point. @param array<string, mixed> $config of the queue connection */
    public function expect(Application $app, array $config): void
    {
    }

    /** How the queue object calls a queue where it keeps it. */
    public function name(Queue $queue, string $name): string
    {
        return (string) $queue->getQueue($name);
    }

    /** Whether the runtime may remove finished jobs in the stead of Laravel's own class. @param array<string, mixed> $backend what {@see describe()} has said */
    public function isPlain(array $backend): bool
    {
        return true;
    }

    /** A job has been made that is about to run. */
    public function reserved(Application $app, Queue $queue, string $connection, Job $job, string $name): void
    {
    }

    /** What PHP lacks for it: an extension's name, or words. @param array<string, mixed> $settings of the queue connection */
    public function lacks(\ArrayAccess $config, array $settings): ?string
    {
        return null;
    }

    /**
     * A long table that has no index for what is looked for in it; null without one.
     *
     * @param array<string, mixed> $backend what {@see describe()} has said
     * @param array<string, mixed> $settings of the queue connection
     */
    public function unindexed(Application $app, array $backend, array $settings): ?string
    {
        return null;
    }

    /** @param array<string, mixed> $backend what {@see describe()} has said @return list<string> files that the app's user writes to */
    public function files(array $backend): array
    {
        return [];
    }

    /** What {@see Horizon::describe()} says of the connection. @return array<string, mixed>|null */
    public function horizon(Application $app, string $connection): ?array
    {
        return null;
    }
}
