<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Illuminate\Contracts\Foundation\Application;
use Illuminate\Contracts\Queue\Queue;
use Illuminate\Queue\Jobs\Job;
use Illuminate\Queue\Jobs\RedisJob;
use Illuminate\Queue\RedisQueue;
use ReflectionMethod;

/**
 * Queues in Redis. What is behind the payload is the member of the set of reserved jobs.
 */
final class RedisDriver extends Driver
{
    public const QUEUE = RedisQueue::class;

    public const JOBS = [RedisJob::class];

    public function describe(Application $app, array $fields): array
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

    public function job(Application $app, Queue $queue, string $connection, array $order, string $payload, string $receipt, bool $ours): Job
    {
        $class = $ours ? RuntimeRedisJob::class : RedisJob::class;

        return new $class($app, $queue, $payload, $receipt, $connection, $order['queue']);
    }

    public function name(Queue $queue, string $name): string
    {
        if (! method_exists($queue, 'getQueueRedisKey')) {
            return parent::name($queue, $name);
        }

        // Laravel 13 connects here to see whether the server is a cluster, and it may not be up yet. What is a cluster
        // is refused by its configuration.
        if ((new ReflectionMethod($queue, 'getQueueRedisKey'))->class === RedisQueue::class) {
            return 'queues:'.(fn (): string => (string) (method_exists($this, 'resolveQueue') ? $this->resolveQueue($name) : $name))->call($queue);
        }

        return (string) (fn () => $this->getQueueRedisKey($name))->call($queue);
    }

    public function reserved(Application $app, Queue $queue, string $connection, Job $job, string $name): void
    {
        // Horizon counts a job as running, and its run time from, the moment of this event.
        if ($queue instanceof \Laravel\Horizon\RedisQueue) {
            $app['events']->dispatch((new \Laravel\Horizon\Events\JobReserved($job->getReservedJob()))->connection($connection)->queue($name));
        }
    }

    public function lacks(\ArrayAccess $config, array $settings): ?string
    {
        $predis = ($config['database.redis.client'] ?? 'phpredis') === 'predis';

        return match (true) {
            $predis => class_exists('Predis\Client') ? null : 'predis/predis',
            default => extension_loaded('redis') ? null : 'redis',
        };
    }

    public function horizon(Application $app, string $connection): ?array
    {
        return Horizon::describe($app['queue']->connection($connection));
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
}
