<?php

declare(strict_types=1);

namespace Kqueue\Tests;

/** Laravel's Redis queue on one server. */
class RedisService extends Service
{
    public const DRIVER = 'redis';

    public const TITLE = 'Redis';

    public function start(string $dir): ?Server
    {
        return RedisServer::start($dir);
    }

    public function settings(string $name, ?Server $server): array
    {
        return ['REDIS_PORT' => $server->port, 'CACHE_STORE' => 'redis'];
    }

    public function backend(Sandbox $sandbox): Backend
    {
        return new RedisBackend($sandbox->redis, $sandbox->prefix, (int) $sandbox->env('REDIS_DB', '0'));
    }
}
