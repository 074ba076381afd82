<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Illuminate\Contracts\Foundation\Application;
use Illuminate\Contracts\Queue\Queue;
use Illuminate\Queue\Jobs\Job;
use Illuminate\Queue\Jobs\RedisJob;
use Illuminate\Queue\RedisQueue;
use Illuminate\Redis\RedisManager;

/**
 * Queues in Redis. In the body of a JOB frame, the payload is followed by the member of the reserved set.
 */
final class RedisDriver extends Driver
{
    public const QUEUE = RedisQueue::class;

    public const JOBS = [RedisJob::class];

    public function describe(Application $app, array $fields): array
    {
        $manager = $fields['redis'];
        $name = $fields['connection'] ?? null ?: 'default';
        $retryAfter = $fields['retryAfter'] ?? null;
        $manager instanceof RedisManager && self::expectConnection($app, $name);
        // The runtime cannot connect as a manager of the app's own does: then workers pop by themselves.
        $servers = $manager instanceof RedisManager
            ? RedisServers::of($manager, $name)
            : ['own' => ['class' => get_class($manager), 'method' => 'connection']];
        $servers['tls'] = self::tls($servers['tls'] ?? null);
        isset($servers['sentinel']) && $servers['sentinel']['tls'] = self::tls($servers['sentinel']['tls'] ?? null);

        if (isset($servers['tls']->passphrase) || isset($servers['tls']->peer_fingerprint)) {
            $servers['own'] = ['class' => get_class($manager), 'method' => 'connection'];
        }

        return $servers + [
            'driver' => 'redis',
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

        // Laravel 13 would connect to see whether the server is a cluster, and it may not be up yet.
        \Closure::bind(function (): void {
            if (property_exists($this, 'isCluster') && $this->redis instanceof RedisManager) {
                $this->isCluster ??= RedisServers::isCluster($this->redis, $this->connection ?: 'default');
            }
        }, $queue, RedisQueue::class)();

        return (string) (fn () => $this->getQueueRedisKey($name))->call($queue);
    }

    public function reserved(Application $app, Queue $queue, string $connection, Job $job, string $name): void
    {
        // For Horizon, a job runs from this event on.
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

    private static function expectConnection(Application $app, string $name): void
    {
        $redis = (array) $app['config']['database.redis'];

        if (! is_array($redis[$name] ?? $redis['clusters'][$name] ?? null)) {
            $names = implode(', ', array_diff(array_keys($redis + ($redis['clusters'] ?? [])), ['client', 'options', 'clusters']));

            throw new Misconfigured(Misconfigured::CONNECTION, "the app has no Redis connection named '{$name}', which its queue connection refers to; config/database.php has {$names}");
        }
    }

    /**
     * Adds the CA files of php.ini where the app configures none.
     *
     * @param array<string, mixed>|null $options of a stream
     * @return array<string, mixed>|object|null
     */
    private static function tls(?array $options): array|object|null
    {
        if ($options === null) {
            return null;
        }

        $own = array_filter(['cafile' => (string) ini_get('openssl.cafile'), 'capath' => (string) ini_get('openssl.capath')]);
        $options += isset($options['cafile']) || isset($options['capath']) ? [] : $own;

        foreach (['verify_peer', 'verify_peer_name', 'allow_self_signed', 'SNI_enabled'] as $name) {
            isset($options[$name]) && $options[$name] = (bool) $options[$name];
        }

        return (object) array_filter($options, is_scalar(...));
    }
}
