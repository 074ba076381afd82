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

    /** What is said of one Redis is not said of a cluster. */
    public function isAmong(?array $drivers): bool
    {
        return $drivers === null || in_array($this->name, $drivers, true);
    }

    public function settings(string $name, ?Server $server): array
    {
        return ['REDIS_NODES' => implode(',', $server->seeds()), 'CACHE_STORE' => 'redis'];
    }

    /** Before 13.5 it is the app that has to see to it that a queue is in one slot: by such a prefix, for one. */
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
