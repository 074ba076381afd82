<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Illuminate\Contracts\Console\Kernel;
use Illuminate\Contracts\Foundation\Application;
use Illuminate\Foundation\Bootstrap\RegisterProviders;

/**
 * Boots the app as `php artisan queue:work …` would, and describes it for the runtime.
 */
final class Boot
{
    public Application $app;

    public Kernel $kernel;

    /** Why the app's `artisan` could not be followed; null if it was. */
    public ?string $unfollowed = null;

    /** @var list<class-string> bootstrappers that {@see begin()} leaves to {@see finish()} */
    private array $rest = [];

    /**
     * @param array<string, mixed> $order the runtime's WELCOME
     * @param Held|null $held records what the app opens while it boots; null where that does not matter
     */
    public function __construct(public array $order, public ?Held $held = null)
    {
    }

    /** Boots the app. Its exceptions are left to the caller. */
    public function boot(): void
    {
        $this->enter();
        $this->watch();
        $this->kernel->bootstrap();
    }

    /** Boots the part before the app's service providers are registered. The rest is {@see finish()}. */
    public function begin(): void
    {
        $this->enter();
        $steps = $this->steps();
        $until = array_filter($steps, static fn (string $step): bool => is_a($step, RegisterProviders::class, true));
        $before = array_slice($steps, 0, (int) array_key_first($until));
        $this->rest = array_slice($steps, count($before));
        $before === [] || $this->app->bootstrapWith($before);
        $this->held->note('before the service providers were registered (config/ or bootstrap/app.php)');
    }

    /** Boots the rest, in a fork of a process that has called {@see begin()}. */
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
        // Packages detect `queue:work` by these.
        $this->setArguments();
        $_SERVER['SCRIPT_NAME'] = $_SERVER['SCRIPT_FILENAME'] = $_SERVER['PHP_SELF'] = $_SERVER['PATH_TRANSLATED'] = 'artisan';
        // Otherwise the console starts two processes to measure a terminal that does not exist, and then sets these
        // itself.
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

    /** Records during which service provider each descriptor is opened. */
    private function watch(): void
    {
        if ($this->held === null || ! method_exists($this->app, 'afterBootstrapping') || ! method_exists($this->app, 'getLoadedProviders')) {
            return;
        }

        $this->app->afterBootstrapping(RegisterProviders::class, function (): void {
            $this->held->note('while the service providers were registered, or before (config/ or bootstrap/app.php)');

            foreach (array_keys($this->app->getLoadedProviders()) as $class) {
                $provider = $this->app->getProvider($class);

                if ($provider !== null && method_exists($provider, 'booted')) {
                    $provider->booted(fn () => $this->held->note("while {$class} booted"));
                }
            }
        });
    }

    /** @return list<class-string> the kernel's bootstrappers; empty for a kernel that is not Laravel's */
    private function steps(): array
    {
        return $this->kernel instanceof \Illuminate\Foundation\Console\Kernel ? (fn (): array => $this->bootstrappers())->call($this->kernel) : [];
    }

    /** Sets `queue:work` and its options as the arguments of this process. */
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
     * Whether the job has left a database transaction open; logs a line if so. The next job must not run inside it,
     * and other writers may be waiting for its end.
     */
    public function isTransactionOpen(): bool
    {
        if ($this->app->resolved('db') && method_exists($this->app['db'], 'getConnections')) {
            foreach ($this->app['db']->getConnections() as $name => $connection) {
                if ($connection->transactionLevel() > 0) {
                    Output::say("the job left a transaction open on the database connection '{$name}': this process exits, which rolls the transaction back");

                    return true;
                }
            }
        }

        return false;
    }

    /**
     * Everything that the runtime needs to access the queue itself, resolved by the app.
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
            // From the config: the package may be missing.
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
