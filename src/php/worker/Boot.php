<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Illuminate\Contracts\Console\Kernel;
use Illuminate\Contracts\Foundation\Application;
use Illuminate\Foundation\Bootstrap\RegisterProviders;

/**
 * Boots the app as `php artisan queue:work …` would, and answers what the runtime must know of it.
 */
final class Boot
{
    public Application $app;

    public Kernel $kernel;

    /** Why what the app's `artisan` sets up is not done, if so. */
    public ?string $unfollowed = null;

    /** @var list<class-string> steps that {@see begin()} has left */
    private array $rest = [];

    /**
     * @param array<string, mixed> $order the runtime's WELCOME
     * @param Held|null $held where it counts what the app opens while it boots
     */
    public function __construct(public array $order, public ?Held $held = null)
    {
    }

    /** Whatever the app throws while it boots goes through: the caller reports it. */
    public function boot(): void
    {
        $this->enter();
        $this->watch();
        $this->kernel->bootstrap();
    }

    /** The part of it in which none of the app's providers takes part. The rest is {@see finish()}. */
    public function begin(): void
    {
        $this->enter();
        $steps = $this->steps();
        $until = array_filter($steps, static fn (string $step): bool => is_a($step, RegisterProviders::class, true));
        $before = array_slice($steps, 0, (int) array_key_first($until));
        $this->rest = array_slice($steps, count($before));
        $before === [] || $this->app->bootstrapWith($before);
        $this->held->note('before its providers are registered (config/ or bootstrap/app.php)');
    }

    /** In a fork of a process that has begun. */
    public function finish(): void
    {
        if ($this->rest !== []) {
            $this->app->bootstrapWith($this->rest);
            $this->rest = [];
        }

        $this->kernel->bootstrap();
    }

    private function enter(): void
    {
        $path = $this->order['path'];
        chdir($path);
        // Packages decide by these that they run inside `queue:work`, and rightly so.
        $this->setArguments();
        $_SERVER['SCRIPT_NAME'] = $_SERVER['SCRIPT_FILENAME'] = $_SERVER['PHP_SELF'] = $_SERVER['PATH_TRANSLATED'] = 'artisan';
        // The console would start two processes to measure a terminal that is not there, and then set these itself.
        putenv('COLUMNS=80');
        putenv('LINES=50');
        $entry = new Entry($path);
        $this->app = $entry->application();
        $this->unfollowed = $entry->unfollowed;

        if (is_int($this->order['umask'] ?? null)) {
            umask($this->order['umask']);
        }

        $this->kernel = $this->app->make(Kernel::class);
    }

    /** Notes in which provider the app opens what it may hold afterwards. */
    private function watch(): void
    {
        if ($this->held === null || ! method_exists($this->app, 'afterBootstrapping') || ! method_exists($this->app, 'getLoadedProviders')) {
            return;
        }

        $this->app->afterBootstrapping(RegisterProviders::class, function (): void {
            $this->held->note('while its providers were registered, or before (config/ or bootstrap/app.php)');

            foreach (array_keys($this->app->getLoadedProviders()) as $class) {
                $provider = $this->app->getProvider($class);

                if ($provider !== null && method_exists($provider, 'booted')) {
                    $provider->booted(fn () => $this->held->note("while {$class} booted"));
                }
            }
        });
    }

    /** @return list<class-string> what the kernel boots the app with; none where it has a way of its own */
    private function steps(): array
    {
        return $this->kernel instanceof \Illuminate\Foundation\Console\Kernel ? (fn (): array => $this->bootstrappers())->call($this->kernel) : [];
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
                    fwrite(STDERR, "left a transaction open on the database connection '{$name}': this process ends, which rolls it back\n");

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
            $names = implode(', ', array_keys((array) $this->app['config']['queue.connections']));

            throw new Misconfigured(Misconfigured::CONNECTION, "the app has no queue connection named '{$name}'; config/queue.php has {$names}");
        }

        $driver = (string) ($config['driver'] ?? '');

        return [
            'laravel' => $this->app->version(),
            'php' => PHP_VERSION,
            'fork' => function_exists('pcntl_fork') && function_exists('pcntl_waitpid'),
            'signals' => extension_loaded('pcntl'),
            'artisan' => $this->unfollowed,
            'connection' => $name,
            'queue' => (string) ($config['queue'] ?? 'default'),
            'horizon' => $driver === 'redis' ? Horizon::describe($this->app['queue']->connection($name)) : null,
            // Not of the package, which need not be there.
            'settings' => (object) $this->app['config']->get('kqueue.settings', []),
            'backend' => match ($driver) {
                'redis' => $this->redis($config),
                'database' => $this->database($config),
                default => ['driver' => $driver],
            },
        ];
    }

    /**
     * @param array<string, mixed> $config
     * @return array<string, mixed>
     */
    private function redis(array $config): array
    {
        $redis = $this->app['config']['database.redis'];
        $name = $config['connection'] ?? 'default';

        if (isset($redis['clusters'][$name])) {
            return ['driver' => 'redis', 'host' => '', 'cluster' => true];
        }

        if (! is_array($redis[$name] ?? null)) {
            $names = implode(', ', array_diff(array_keys((array) $redis), ['client', 'options', 'clusters']));

            throw new Misconfigured(Misconfigured::CONNECTION, "the app has no Redis connection named '{$name}', which its queue connection names; config/database.php has {$names}");
        }

        // Laravel's own reading of `url`, which overrides the separate keys.
        $connection = (new \Illuminate\Support\ConfigurationUrlParser)->parseConfiguration($redis[$name]);
        $scheme = $connection['scheme'] ?? (($connection['driver'] ?? '') === 'tls' ? 'tls' : '');
        $host = (string) ($connection['host'] ?? $connection['path'] ?? '127.0.0.1');

        return [
            'driver' => 'redis',
            'host' => $scheme === 'tls' && ! str_starts_with($host, 'tls://') ? 'tls://'.$host : $host,
            'port' => (int) ($connection['port'] ?? 6379),
            'username' => ($connection['username'] ?? null) ?: null,
            'password' => ($connection['password'] ?? null) ?: null,
            'database' => (int) ($connection['database'] ?? 0),
            'prefix' => $this->prefix($connection, $redis),
            'cluster' => false,
            'retry_after' => array_key_exists('retry_after', $config) ? ($config['retry_after'] === null ? null : (int) $config['retry_after']) : 60,
            'migration_batch_size' => (int) ($config['migration_batch_size'] ?? -1),
            // Horizon and other subclasses do more than a ZREM when a job is deleted: they must do it themselves.
            'plain' => get_class($this->app['queue']->connection($this->connection())) === \Illuminate\Queue\RedisQueue::class,
        ];
    }

    /**
     * What the app's client puts before every key. There are three places to set it, and which of them counts differs
     * from version to version for phpredis: so Laravel's own connector is asked. It connects to nothing here.
     *
     * @param array<string, mixed> $connection
     * @param array<string, mixed> $redis
     */
    private function prefix(array $connection, array $redis): string
    {
        if (($redis['client'] ?? 'phpredis') === 'phpredis' && extension_loaded('redis')) {
            $connector = new class extends \Illuminate\Redis\Connectors\PhpRedisConnector {
                /** @var array<string, mixed> */
                public array $merged = [];

                protected function createClient(array $config)
                {
                    $this->merged = $config;

                    return new \Redis;
                }
            };
            $connector->connect($connection, $redis['options'] ?? []);

            return (string) ($connector->merged['prefix'] ?? '');
        }

        return (string) ($connection['prefix'] ?? $connection['options']['prefix'] ?? $redis['options']['prefix'] ?? '');
    }

    /**
     * @param array<string, mixed> $config
     * @return array<string, mixed>
     */
    private function database(array $config): array
    {
        $name = $config['connection'] ?? $this->app['config']['database.default'];
        $connection = $this->app['config']["database.connections.{$name}"];

        if (! is_array($connection)) {
            $names = implode(', ', array_keys((array) $this->app['config']['database.connections']));

            throw new Misconfigured(Misconfigured::CONNECTION, "the app has no database connection named '{$name}', which its queue connection names; config/database.php has {$names}");
        }

        $connection = (new \Illuminate\Support\ConfigurationUrlParser)->parseConfiguration($connection);
        $file = (string) ($connection['database'] ?? '');

        // Laravel's own error names a query that nobody has asked for.
        if (($connection['driver'] ?? '') === 'sqlite' && ! preg_match('/^$|:memory:|mode=memory/', $file) && ! file_exists($file)) {
            throw new Misconfigured(Misconfigured::DATABASE_FILE, "the SQLite database {$file} of connection '{$name}' does not exist");
        }

        return [
            'driver' => 'database',
            'engine' => (string) ($connection['driver'] ?? ''),
            'path' => realpath((string) ($connection['database'] ?? '')) ?: (string) ($connection['database'] ?? ''),
            'prefix' => (string) ($connection['prefix'] ?? ''),
            'table' => (string) ($config['table'] ?? 'jobs'),
            'retry_after' => (int) ($config['retry_after'] ?? 60),
            'plain' => ($connection['driver'] ?? '') === 'sqlite'
                && get_class($this->app['queue']->connection($this->connection())) === \Illuminate\Queue\DatabaseQueue::class,
        ];
    }
}
