<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Illuminate\Contracts\Console\Kernel;
use Illuminate\Contracts\Foundation\Application;

/**
 * Boots the app as `php artisan queue:work …` would, and answers what the runtime must know of it.
 */
final class Boot
{
    public Application $app;

    public Kernel $kernel;

    /** @param array<string, mixed> $order the runtime's WELCOME */
    public function __construct(public array $order)
    {
    }

    /** Whatever the app throws while it boots goes through: the caller reports it. */
    public function boot(): void
    {
        $path = $this->order['path'];
        chdir($path);
        // Packages decide by these that they run inside `queue:work`, and rightly so.
        $this->setArguments();
        $_SERVER['SCRIPT_NAME'] = $_SERVER['SCRIPT_FILENAME'] = $_SERVER['PHP_SELF'] = 'artisan';
        // The console would start two processes to measure a terminal that is not there, and then set these itself.
        putenv('COLUMNS=80');
        putenv('LINES=50');
        defined('LARAVEL_START') || define('LARAVEL_START', microtime(true));

        if (is_file($path.'/vendor/autoload.php')) {
            require_once $path.'/vendor/autoload.php';
        }

        $app = require $path.'/bootstrap/app.php';

        if (! $app instanceof Application) {
            throw new \RuntimeException($path.'/bootstrap/app.php did not return a Laravel application');
        }

        $this->app = $app;
        $this->kernel = $app->make(Kernel::class);
        $this->kernel->bootstrap();
    }

    /** Makes `queue:work` and its options what this process was started with. */
    public function setArguments(): void
    {
        $_SERVER['argv'] = $GLOBALS['argv'] = $this->arguments();
        $_SERVER['argc'] = $GLOBALS['argc'] = count($_SERVER['argv']);
    }

    /** @return list<string> */
    public function arguments(): array
    {
        return array_merge(['artisan', 'queue:work'], $this->order['arguments'] ?? []);
    }

    /** The name of the connection that is worked. */
    public function connection(): string
    {
        return $this->order['connection'] ?? $this->app['config']['queue.default'];
    }

    /**
     * Whether the job has left a transaction open, and says so. The next one is not to run inside it, and whoever else
     * writes to that database may be waiting for its end.
     */
    public function isTransactionOpen(): bool
    {
        if ($this->app->resolved('db') && method_exists($this->app['db'], 'getConnections')) {
            foreach ($this->app['db']->getConnections() as $name => $connection) {
                if ($connection->transactionLevel() > 0) {
                    Output::say("left a transaction open on the database connection '{$name}': this process ends, which rolls it back");

                    return true;
                }
            }
        }

        return false;
    }

    /**
     * Everything the runtime needs in order to speak to the queue itself, resolved by the app.
     *
     * @return array<string, mixed>
     */
    public function describe(): array
    {
        $name = $this->connection();
        $config = $this->app['config']["queue.connections.{$name}"];

        if (! is_array($config)) {
            throw new \RuntimeException("the app has no queue connection named '{$name}' (config/queue.php)");
        }

        [$backend, $queue] = Backend::of($this->app, $name, $config, $this->queues());

        return [
            'laravel' => $this->app->version(),
            'php' => PHP_VERSION,
            'fork' => function_exists('pcntl_fork') && function_exists('pcntl_waitpid') && function_exists('pcntl_signal'),
            'signals' => extension_loaded('pcntl'),
            'connection' => $name,
            'queue' => $queue,
            // Not of the package, which need not be there.
            'settings' => (object) $this->app['config']->get('kqueue.settings', []),
            'backend' => $backend,
            'memory' => memory_get_usage(true) >> 20,
        ];
    }

    /** @return list<string> the queues that are worked; empty for the connection's own */
    private function queues(): array
    {
        foreach ($this->order['arguments'] ?? [] as $argument) {
            if (str_starts_with($argument, '--queue=')) {
                return explode(',', substr($argument, 8));
            }
        }

        return [];
    }
}
