<?php

declare(strict_types=1);

namespace Kqueue\Tests;

final class MariaDbService extends DatabaseService
{
    public const TITLE = 'MariaDB';

    public function start(string $dir): ?Server
    {
        return MariaDbServer::start($dir);
    }
}
