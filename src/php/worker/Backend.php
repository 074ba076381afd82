<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Illuminate\Contracts\Foundation\Application;
use Illuminate\Contracts\Queue\Queue;
use Illuminate\Queue\DatabaseQueue;
use Illuminate\Queue\RedisQueue;
use Illuminate\Queue\SqsQueue;
use ReflectionMethod;

/**
 * What the runtime needs to access the queue itself, resolved by the app.
 *
 * It is read from the queue object, not only from its configuration: an app may have a queue class of its own, whose
 * keys carry a prefix or whose table is that of a tenant.
 */
final class Backend
{
    /** Drivers that store no jobs for workers. */
    private const FOREIGN = ['sync', 'null', 'deferred', 'background'];

    /** Methods that the runtime replaces. A class that overrides one would be bypassed. */
    private const REPLACED = ['pop', 'migrate', 'migrateExpiredJobs', 'retrieveNextJob', 'getNextAvailableJob', 'isAvailable', 'isReservedButExpired', 'marshalJob', 'markJobAsReserved'];

    /** Classes whose methods are known: Laravel's, and Horizon's, which raises events (see {@see RedisDriver}). */
    private const KNOWN = ['Illuminate\Queue\Queue', RedisQueue::class, DatabaseQueue::class, SqsQueue::class, 'Laravel\Horizon\RedisQueue'];

    /** A placeholder name, to find the prefix and suffix that the class adds. */
    private const PROBE = 'kqueue-any-queue';

    /**
     * @param array<string, mixed> $config of the queue connection
     * @param list<string> $queues that are worked; empty for the connection's own
     * @return array{0: array<string, mixed>, 1: string} the backend, and the connection's own queue
     */
    public static function of(Application $app, string $name, array $config, array $queues): array
    {
        $driver = (string) ($config['driver'] ?? '');
        $own = (string) ($config['queue'] ?? 'default');
        $queue = self::resolve($app, $name, $driver, $config);

        $served = Driver::of($queue);

        if ($served === null) {
            return [self::native($driver, $queue, $config), $own];
        }

        $base = $served::QUEUE;
        // From the object: a connector of the app's own may have set other values than the configuration.
        $fields = \Closure::bind(fn (): array => get_object_vars($this), $queue, $base)();
        $own = is_string($fields['default'] ?? null) ? $fields['default'] : $own;
        $backend = $served->describe($app, $fields);
        $backend['plain'] = get_class($queue) === $base && $served->isPlain($backend);
        $backend['names'] = self::names($served, $queue, $queues === [] ? [$own] : $queues);

        if (($method = self::overridden($queue)) !== null) {
            $backend['own'] = ['class' => (string) strtok($method->class, "\0"), 'method' => $method->name];
        }

        return [$backend, $own];
    }

    /** @param array<string, mixed> $config of the queue connection */
    private static function resolve(Application $app, string $name, string $driver, array $config): ?object
    {
        if (in_array($driver, self::FOREIGN, true)) {
            return null;
        }

        Driver::named($driver)?->expect($app, $config);

        return $app['queue']->connection($name);
    }

    /**
     * A queue for which the runtime has no backend: its workers pop by themselves.
     *
     * @param array<string, mixed> $config of the queue connection
     * @return array<string, mixed>
     */
    private static function native(string $driver, ?object $queue, array $config): array
    {
        $members = $driver === 'failover' ? array_values(array_filter((array) ($config['connections'] ?? []), 'is_string')) : [];

        return ['driver' => $driver]
            + ($queue === null ? [] : ['class' => get_class($queue)])
            + (is_numeric($config['retry_after'] ?? null) ? ['retry_after' => (int) $config['retry_after']] : [])
            + ($members === [] ? [] : ['members' => $members]);
    }

    private static function overridden(object $queue): ?ReflectionMethod
    {
        foreach (self::REPLACED as $name) {
            if (method_exists($queue, $name)) {
                $method = new ReflectionMethod($queue, $name);

                if (! in_array($method->class, self::KNOWN, true)) {
                    return $method;
                }
            }
        }

        return null;
    }

    /**
     * The stored name of each queue, as the queue object makes it.
     *
     * @param list<string> $queues
     * @return array{exact: object, before: string|null, after: string|null}
     */
    private static function names(Driver $driver, Queue $queue, array $queues): array
    {
        $exact = [];

        foreach ($queues as $name) {
            $exact[$name] = $driver->name($queue, $name);
        }

        // For queues that the settings add later.
        $around = explode(self::PROBE, $driver->name($queue, self::PROBE));
        $around = count($around) === 2 ? $around : [null, null];

        return ['exact' => (object) $exact, 'before' => $around[0], 'after' => $around[1]];
    }
}
