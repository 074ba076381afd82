<?php

declare(strict_types=1);

namespace Kqueue\Tests;

use Illuminate\Contracts\Console\Kernel;
use Illuminate\Foundation\Application;
use PDO;

/**
 * One scenario's own app: a copy of `app/` with its own settings, database, storage and Redis prefix. Its cache depends
 * on the service: the restart signal and the like go through it, and every kind that processes share is to be covered.
 */
final class Sandbox
{
    public readonly string $app;

    /** A unique name of the sandbox, for a database and a prefix. */
    public readonly string $name;

    public readonly string $prefix;

    /** The app's queue connection, which has the name of its driver. */
    public readonly string $driver;

    /** @var array<string, string> */
    private array $env;

    /** @param array<string, string|int> $env settings on top of the usual ones */
    public function __construct(
        public readonly string $dir,
        public readonly Service $service,
        public readonly ?Server $server,
        public readonly RedisServer $redis,
        private readonly ?string $laravel,
        array $env = [],
        bool $package = false,
    ) {
        $this->app = $dir . '/app';
        $this->name = basename($dir);
        $this->driver = $service->driver();
        $this->prefix = (string) ($env['REDIS_PREFIX'] ?? $service->prefix($this->name));
        TestApp::make($this->app, $this->laravel);
        $package && TestApp::require($this->app);
        $this->env = array_map('strval', $env + [
            'APP_KEY' => TestApp::key(),
            'APP_ENV' => 'production',
            'QUEUE_CONNECTION' => $this->driver,
            'REDIS_HOST' => '127.0.0.1',
            'REDIS_PORT' => $redis->port,
            'REDIS_DB' => 1,
            'REDIS_PREFIX' => $this->prefix,
        ] + $service->settings($this->name, $server));
        TestApp::writeEnv($this->app, $this->env);
        $service->prepare($this);
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
        return $this->service->database($this);
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
