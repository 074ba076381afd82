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
            $names = implode(', ', array_keys((array) $this->app['config']['queue.connections']));

            throw new Misconfigured(Misconfigured::CONNECTION, "the app has no queue connection named '{$name}'; config/queue.php has {$names}");
        }

        [$backend, $queue] = Backend::of($this->app, $name, $config, $this->queues());

        return [
            'laravel' => $this->app->version(),
            'php' => PHP_VERSION,
            'fork' => function_exists('pcntl_fork') && function_exists('pcntl_waitpid'),
            'signals' => extension_loaded('pcntl'),
            'artisan' => $this->unfollowed,
            'connection' => $name,
            'queue' => $queue,
            'horizon' => Driver::named((string) ($config['driver'] ?? ''))?->horizon($this->app, $name),
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
