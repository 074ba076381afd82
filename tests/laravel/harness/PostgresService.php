<?php

declare(strict_types=1);

namespace Kqueue\Tests;

final class PostgresService extends DatabaseService
{
    public const TITLE = 'PostgreSQL';

    public function start(string $dir): ?Server
    {
        return PostgresServer::start($dir);
    }
}
