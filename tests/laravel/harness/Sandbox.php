<?php

declare(strict_types=1);

namespace Kqueue\Tests;

use Illuminate\Contracts\Console\Kernel;
use Illuminate\Foundation\Application;
use PDO;

/** One scenario's own app: a copy of `app/` with its own settings, database, storage and Redis prefix. */
final class Sandbox
{
    public readonly string $app;

    public readonly string $prefix;

    /** @var array<string, string> */
    private array $env;

    /** @param array<string, string|int> $env settings on top of the usual ones */
    public function __construct(
        public readonly string $dir,
        public readonly string $driver,
        public readonly RedisServer $redis,
        private readonly ?string $laravel,
        array $env = [],
        bool $package = false,
    ) {
        $this->app = $dir . '/app';
        $this->prefix = (string) ($env['REDIS_PREFIX'] ?? basename($dir) . '_database_');
        TestApp::make($this->app, $this->laravel);
        $package && TestApp::require($this->app);
        $this->env = array_map('strval', $env + [
            'APP_KEY' => TestApp::key(),
            'APP_ENV' => 'production',
            'QUEUE_CONNECTION' => $driver,
            'REDIS_HOST' => '127.0.0.1',
            'REDIS_PORT' => $redis->port,
            'REDIS_DB' => 1,
            'REDIS_PREFIX' => $this->prefix,
            // Both kinds of cache that processes share are used: the restart signal and the like go through them.
            'CACHE_STORE' => $driver === 'redis' ? 'redis' : 'file',
        ]);
        TestApp::writeEnv($this->app, $this->env);
    }

    /** @param array<string, string|int> $env */
    public function setEnv(array $env): void
    {
        $this->env = array_map('strval', $env) + $this->env;
        TestApp::writeEnv($this->app, $this->env);
    }

    public function env(string $name, string $default): string
    {
        return $this->env[$name] ?? $default;
    }

    public function journal(): string
    {
        return $this->app . '/journal.jsonl';
    }

    public function log(): string
    {
        return (string) @file_get_contents($this->app . '/storage/logs/laravel.log');
    }

    public function database(): PDO
    {
        return TestApp::database($this->app);
    }

    /** Boots the app in this process: the harness dispatches through Laravel itself. */
    public function boot(): Application
    {
        require_once $this->app . '/vendor/autoload.php';
        $app = require $this->app . '/bootstrap/app.php';
        $app->make(Kernel::class)->bootstrap();

        return $app;
    }
}
