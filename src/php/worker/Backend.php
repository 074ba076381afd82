<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Illuminate\Contracts\Foundation\Application;
use Illuminate\Queue\DatabaseQueue;
use Illuminate\Queue\RedisQueue;
use ReflectionMethod;
use Throwable;

/**
 * What the runtime needs in order to speak to the queue itself, resolved by the app.
 *
 * The queue object is asked, and not only its configuration: an app may have a queue class of its own, whose keys carry
 * a prefix or whose table is that of a tenant.
 */
final class Backend
{
    /** Drivers that kqueue cannot serve whatever class they have; some cannot even be made without their packages. */
    private const FOREIGN = ['sync', 'null', 'deferred', 'background', 'failover', 'sqs', 'beanstalkd'];

    /** What the runtime does in the queue's stead. A class with its own way of doing it would be passed over. */
    private const REPLACED = ['pop', 'migrate', 'migrateExpiredJobs', 'retrieveNextJob', 'getNextAvailableJob', 'isAvailable', 'isReservedButExpired', 'marshalJob', 'markJobAsReserved'];

    /** Classes whose own way is known: Laravel's, and Horizon's, which raises events (see {@see Jobs}). */
    private const KNOWN = ['Illuminate\Queue\Queue', RedisQueue::class, DatabaseQueue::class, 'Laravel\Horizon\RedisQueue'];

    /** Stands for any queue, to find what the class puts around its name. */
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

        if (! $queue instanceof RedisQueue && ! $queue instanceof DatabaseQueue) {
            return [['driver' => $driver], $own];
        }

        $base = $queue instanceof RedisQueue ? RedisQueue::class : DatabaseQueue::class;
        // As the class sees itself: a connector of the app's own may have given it other values than the configuration.
        $fields = \Closure::bind(fn (): array => get_object_vars($this), $queue, $base)();
        $own = is_string($fields['default'] ?? null) ? $fields['default'] : $own;
        $backend = $queue instanceof RedisQueue ? self::redis($app, $fields) : self::database($fields);
        $backend['plain'] = get_class($queue) === $base && ($backend['engine'] ?? 'sqlite') === 'sqlite';
        $backend['names'] = self::names($queue, $queues === [] ? [$own] : $queues);

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

        if ($driver === 'database') {
            self::expectDatabase($app, (string) ($config['connection'] ?? $app['config']['database.default']));
        }

        try {
            return $app['queue']->connection($name);
        } catch (Throwable $error) {
            if (in_array($driver, ['redis', 'database'], true)) {
                throw $error;
            }

            return null;
        }
    }

    private static function expectDatabase(Application $app, string $name): void
    {
        $connections = (array) $app['config']['database.connections'];

        if (! is_array($connections[$name] ?? null)) {
            $names = implode(', ', array_keys($connections));

            throw new Misconfigured(Misconfigured::CONNECTION, "the app has no database connection named '{$name}', which its queue connection names; config/database.php has {$names}");
        }

        $connection = (new \Illuminate\Support\ConfigurationUrlParser)->parseConfiguration($connections[$name]);
        $file = (string) ($connection['database'] ?? '');

        // Laravel's own error names a query that nobody has asked for.
        if (($connection['driver'] ?? '') === 'sqlite' && ! preg_match('/^$|:memory:|mode=memory/', $file) && ! file_exists($file)) {
            throw new Misconfigured(Misconfigured::DATABASE_FILE, "the SQLite database {$file} of connection '{$name}' does not exist");
        }
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
     * How the queue object calls each queue in Redis, or in the column of its table.
     *
     * @param list<string> $queues
     * @return array{exact: object, before: string|null, after: string|null}
     */
    private static function names(RedisQueue|DatabaseQueue $queue, array $queues): array
    {
        $exact = [];

        foreach ($queues as $name) {
            $exact[$name] = self::name($queue, $name);
        }

        // Queues that the settings add later are called alike.
        $around = explode(self::PROBE, self::name($queue, self::PROBE));
        $around = count($around) === 2 ? $around : [null, null];

        return ['exact' => (object) $exact, 'before' => $around[0], 'after' => $around[1]];
    }

    private static function name(RedisQueue|DatabaseQueue $queue, string $name): string
    {
        if (! $queue instanceof RedisQueue || ! method_exists($queue, 'getQueueRedisKey')) {
            return (string) $queue->getQueue($name);
        }

        // Laravel 13 connects here to see whether the server is a cluster, and it may not be up yet. What is a cluster
        // is refused by its configuration.
        if ((new ReflectionMethod($queue, 'getQueueRedisKey'))->class === RedisQueue::class) {
            return 'queues:'.(fn (): string => (string) (method_exists($this, 'resolveQueue') ? $this->resolveQueue($name) : $name))->call($queue);
        }

        return (string) (fn () => $this->getQueueRedisKey($name))->call($queue);
    }

    /**
     * @param array<string, mixed> $fields of the queue object
     * @return array<string, mixed>
     */
    private static function redis(Application $app, array $fields): array
    {
        $redis = $app['config']['database.redis'];
        $name = $fields['connection'] ?? 'default';

        if (isset($redis['clusters'][$name])) {
            return ['driver' => 'redis', 'host' => '', 'cluster' => true];
        }

        if (! is_array($redis[$name] ?? null)) {
            $names = implode(', ', array_diff(array_keys((array) $redis), ['client', 'options', 'clusters']));

            throw new Misconfigured(Misconfigured::CONNECTION, "the app has no Redis connection named '{$name}', which its queue connection names; config/database.php has {$names}");
        }

        // Laravel's own reading of `url`, which overrides the separate keys.
        $connection = (new \Illuminate\Support\ConfigurationUrlParser)->parseConfiguration($redis[$name]);
        $scheme = $connection['scheme'] ?? (($connection['driver'] ?? '') === 'tls' ? 'tls' : '');
        $host = (string) ($connection['host'] ?? $connection['path'] ?? '127.0.0.1');
        $retryAfter = $fields['retryAfter'] ?? null;

        return [
            'driver' => 'redis',
            'host' => $scheme === 'tls' && ! str_starts_with($host, 'tls://') ? 'tls://'.$host : $host,
            'port' => (int) ($connection['port'] ?? 6379),
            'username' => ($connection['username'] ?? null) ?: null,
            'password' => ($connection['password'] ?? null) ?: null,
            'database' => (int) ($connection['database'] ?? 0),
            'prefix' => self::prefix($connection, $redis),
            'cluster' => false,
            'retry_after' => $retryAfter === null ? null : (int) $retryAfter,
            'migration_batch_size' => (int) ($fields['migrationBatchSize'] ?? -1),
        ];
    }

    /**
     * What the app's client puts before every key. There are three places to set it, and which of them counts differs
     * from version to version for phpredis: so Laravel's own connector is asked. It connects to nothing here.
     *
     * @param array<string, mixed> $connection
     * @param array<string, mixed> $redis
     */
    private static function prefix(array $connection, array $redis): string
    {
        if (($redis['client'] ?? 'phpredis') === 'phpredis' && extension_loaded('redis')) {
            $connector = new class extends \Illuminate\Redis\Connectors\PhpRedisConnector {
                /** @var array<string, mixed> */
                public array $merged = [];

                protected function createClient(array $config)
                {
                    $this->merged = $config;

                    return new \Redis;
                }
            };
            $connector->connect($connection, $redis['options'] ?? []);

            return (string) ($connector->merged['prefix'] ?? '');
        }

        return (string) ($connection['prefix'] ?? $connection['options']['prefix'] ?? $redis['options']['prefix'] ?? '');
    }

    /**
     * @param array<string, mixed> $fields of the queue object
     * @return array<string, mixed>
     */
    private static function database(array $fields): array
    {
        $database = $fields['database'];

        return [
            'driver' => 'database',
            'engine' => (string) $database->getDriverName(),
            'path' => realpath((string) $database->getDatabaseName()) ?: (string) $database->getDatabaseName(),
            'prefix' => (string) $database->getTablePrefix(),
            'table' => (string) ($fields['table'] ?? 'jobs'),
            'retry_after' => (int) ($fields['retryAfter'] ?? 60),
        ];
    }
}
