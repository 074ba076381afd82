<?php

declare(strict_types=1);

namespace Kqueue\Tests;

/** Laravel's beanstalkd queue, which kqueue's workers pop from by themselves. */
final class BeanstalkdService extends Service
{
    public const DRIVER = 'beanstalkd';

    public const TITLE = 'beanstalkd';

    /** Rows that need what nobody but the reserving connection can do there. */
    private const ABSENT = [];

    public function start(string $dir): ?Server
    {
        return BeanstalkdServer::start($dir);
    }

    /** Its tubes are called as the queues are, whatever the app. */
    public function isShared(): bool
    {
        return false;
    }

    public function excludes(Row $row): ?string
    {
        return self::ABSENT[$row->id] ?? null;
    }

    public function settings(string $name, ?Server $server): array
    {
        return ['CACHE_STORE' => 'file', 'BEANSTALKD_PORT' => $server->port];
    }

    public function backend(Sandbox $sandbox): Backend
    {
        return new BeanstalkdBackend($sandbox->server, new DatabaseBackend($sandbox));
    }
}
