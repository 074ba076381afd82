<?php

declare(strict_types=1);

namespace Kqueue\Tests;

use Illuminate\Queue\RedisQueue;

/** Laravel's Redis queue in a cluster, and the cache beside it. */
final class RedisClusterService extends RedisService
{
    public const TITLE = 'Redis Cluster';

    public function start(string $dir): ?Server
    {
        return RedisClusterServer::start($dir);
    }

    /** Rows for the driver `redis` do not apply to a cluster. */
    public function isAmong(?array $drivers): bool
    {
        return $drivers === null || in_array($this->name, $drivers, true);
    }

    public function settings(string $name, ?Server $server): array
    {
        return ['REDIS_NODES' => implode(',', $server->seeds()), 'CACHE_STORE' => 'redis'];
    }

    /** Before 13.5 the app itself has to keep a queue in one slot, for example by such a prefix. */
    public function prefix(string $name): string
    {
        return "{{$name}}_database_";
    }

    public function backend(Sandbox $sandbox): Backend
    {
        return new RedisBackend($sandbox->server, $sandbox->prefix, 0, self::tagged());
    }

    /** Whether Laravel puts the braces around queues itself. */
    private static function tagged(): bool
    {
        return method_exists(RedisQueue::class, 'isClusterConnection');
    }
}
