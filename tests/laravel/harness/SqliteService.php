<?php

declare(strict_types=1);

namespace Kqueue\Tests;

/** Laravel's database queue in the app's SQLite file. */
final class SqliteService extends Service
{
    public const DRIVER = 'database';

    public const TITLE = 'SQLite';

    public function settings(string $name, ?Server $server): array
    {
        return ['CACHE_STORE' => 'file'];
    }

    public function backend(Sandbox $sandbox): Backend
    {
        return new DatabaseBackend($sandbox);
    }
}
