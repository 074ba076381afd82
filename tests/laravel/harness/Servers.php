<?php

declare(strict_types=1);

namespace Kqueue\Tests;

/** The servers of one run: a Redis for every app, and one for each service with a server that can be shared. */
final class Servers
{
    public readonly RedisServer $redis;

    /** @var array<string, Server|null> by the service's name */
    private array $started = [];

    /** @param list<Service> $services */
    public function __construct(string $dir, array $services)
    {
        // PostgreSQL runs as nobody, and has to traverse this directory.
        is_dir($dir) || mkdir($dir, 0755, true);
        $this->redis = RedisServer::start($dir . '/redis');
        $this->started = ['redis' => $this->redis];
        foreach ($services as $service) {
            $this->started[$service->name] ??= ! $service->isShared() ? null : $service->start("{$dir}/{$service->name}");
        }
    }

    public function of(Service $service): ?Server
    {
        return $this->started[$service->name] ?? null;
    }

    public function stop(): void
    {
        foreach (array_filter($this->started) as $server) {
            $server->stop();
        }
    }
}
