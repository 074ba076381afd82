<?php

declare(strict_types=1);

namespace Kqueue\Tests;

use PDO;

/** Laravel's database queue on a server, where the app keeps everything else too: a database for each sandbox. */
abstract class DatabaseService extends Service
{
    public const DRIVER = 'database';

    public function settings(string $name, ?Server $server): array
    {
        return [
            'DB_CONNECTION' => $this->name,
            'DB_HOST' => '127.0.0.1',
            'DB_PORT' => $server->port,
            'DB_DATABASE' => $name,
            'DB_USERNAME' => DatabaseServer::USER,
            'DB_PASSWORD' => DatabaseServer::PASSWORD,
            'CACHE_STORE' => 'database',
        ];
    }

    public function prepare(Sandbox $sandbox): void
    {
        $server = $sandbox->server;
        $server->connect()->exec("create database {$sandbox->name}");
        $this->database($sandbox)->exec(TestApp::schema($this->name));
    }

    public function database(Sandbox $sandbox): PDO
    {
        return $sandbox->server->connect($sandbox->name);
    }

    public function backend(Sandbox $sandbox): Backend
    {
        return new DatabaseBackend($sandbox);
    }
}
