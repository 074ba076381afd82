<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Illuminate\Contracts\Foundation\Application;
use Illuminate\Contracts\Queue\Queue;
use Illuminate\Support\Str;
use Throwable;

/**
 * Reports on an app for `kqueue init`, `kqueue check` and `kqueue import`, outside of any runtime.
 *
 * The report is one line of standard output: MARK and a JSON object. If the app throws or ends PHP while it boots, the
 * report is written all the same, with the stage that failed.
 */
final class Survey
{
    private const MARK = 'kqueue-survey ';

    /** Paths below the app's directory that have to be writable while it runs jobs. */
    private const WRITTEN = ['storage/logs', 'storage/logs/laravel.log', 'storage/framework/cache', 'storage/framework/cache/data',
        'storage/framework/views', 'bootstrap/cache'];

    /** @var array<string, mixed> */
    private array $found = [];

    private bool $told = false;

    private int $pid;

    /**
     * @param array{path: string, connection?: string|null, environment?: string|null, fork_safe_peers?: list<string>, property_hints?: bool|null, classes?: list<string>} $order
     *        where `property_hints` is given, classes are inspected, too
     */
    public function __construct(private array $order)
    {
        $this->pid = (int) getmypid();
    }

    public function run(): int
    {
        // Discards what the app prints.
        ob_start(static fn (): string => '');
        register_shutdown_function(fn () => $this->ended());
        $this->interpreter();
        $this->found['unwritable'] = self::unwritable(array_map(fn (string $path): string => $this->order['path'].'/'.$path, self::WRITTEN));
        $this->found['unreadable'] = self::unreadable($this->order['path']);
        $boot = new Boot($this->order, $held = new Held($this->order['fork_safe_peers'] ?? []));

        try {
            $boot->boot();
        } catch (Throwable $error) {
            return $this->fail('boot', $error);
        }

        Connections::close($boot->app);
        $held->note('after the app had booted');
        $this->found['held'] = $held->left();
        $this->found['artisan'] = $boot->unfollowed;
        $config = $boot->app['config'];
        $this->found['laravel'] = $boot->app->version();
        $this->found['environment'] = (string) $config['app.env'];
        $store = (string) $config['cache.default'];
        $this->found['cache'] = ['store' => $store, 'driver' => (string) ($config["cache.stores.{$store}.driver"] ?? '')];

        try {
            $this->found['horizon'] = $this->horizon($config);
            $this->found['default'] = (string) $config['queue.default'];
            $this->found['connection'] = $boot->connection();
            // First, or a missing extension or package would show as an error of the app.
            $this->found['lacks'] = $this->lacks($config, $boot->connection());
            $described = $boot->describe();
            $this->found['queue'] = $described['queue'];
            $this->found['master'] = $described['horizon'];

            if (isset($this->order['property_hints'])) {
                $this->found['declared'] = (object) Declarations::of($boot->app, $this->order['path'], $this->order['property_hints']);
            }

            $this->found['unknown'] = array_values(array_filter($this->order['classes'] ?? [], self::isUnknown(...)));
            $backend = $this->found['backend'] = $described['backend'];
            $this->found['others'] = (object) Others::of($config, $this->order['path'], $boot->connection());

            if (isset($backend['class'])) {
                $this->found['backend'] += self::silence($boot->app['queue']->connection($boot->connection()), $described['queue']);
            }

            $this->found['unindexed'] = self::unindexed($boot->app, $backend, (array) $config["queue.connections.{$boot->connection()}"]);

            if (isset($backend['plain'])) {
                array_push($this->found['unwritable'], ...self::unwritable(Driver::named($backend['driver'])?->files($backend) ?? []));
            }
        } catch (Throwable $error) {
            return $this->fail('connection', $error);
        }

        return $this->tell();
    }

    /** @param array<string, mixed> $backend @param array<string, mixed> $settings of the queue connection */
    private static function unindexed(Application $app, array $backend, array $settings): ?string
    {
        try {
            return Driver::named((string) $backend['driver'])?->unindexed($app, $backend, $settings);
        } catch (Throwable) {
            // An unreachable server is reported elsewhere.
            return null;
        }
    }

    /**
     * Why a queue that only PHP can reach does not answer. Errors other than connection failures (the queue does not
     * exist yet, or cannot be counted) are ignored.
     *
     * @return array{silent?: string}
     */
    private static function silence(Queue $connection, string $queue): array
    {
        try {
            $connection->size($queue);
        } catch (Throwable $error) {
            if (preg_match('/Connect|Socket|Amqp.*IO|Timeout/i', (string) strrchr('\\'.$error::class, '\\')) === 1
                || preg_match('/connection refused|could not connect|timed out|no route to host|getaddrinfo/i', $error->getMessage()) === 1) {
                return ['silent' => $error::class.': '.$error->getMessage()];
            }
        }

        return [];
    }

    private function interpreter(): void
    {
        $this->found['php'] = PHP_VERSION;
        $this->found['binary'] = PHP_BINARY;
        $this->found['fork'] = function_exists('pcntl_fork') && function_exists('pcntl_waitpid');
        $this->found['posix'] = extension_loaded('posix');
        $this->found['ffi'] = Output::prepare();
    }

    /**
     * @param list<string> $paths
     * @return list<string> existing paths that this process, which has to run as the app's user, cannot write to
     */
    private static function unwritable(array $paths): array
    {
        return array_values(array_filter($paths, static fn (string $path): bool => file_exists($path) && ! is_writable($path)));
    }

    /** The app's `.env`, if this process, which has to run as the app's user, needs it and cannot read it. */
    private static function unreadable(string $path): ?string
    {
        $file = $path.'/.env';

        return is_file($file) && ! is_readable($file) && ! is_file($path.'/bootstrap/cache/config.php') ? $file : null;
    }

    private static function isUnknown(string $class): bool
    {
        try {
            return ! class_exists($class);
        } catch (Throwable) {
            // It is there, and cannot be loaded.
            return false;
        }
    }

    /** The extension or Composer package that this connection lacks; null if none. */
    private function lacks(\ArrayAccess $config, string $connection): ?string
    {
        $settings = $config["queue.connections.{$connection}"];

        return Driver::named((string) ($settings['driver'] ?? ''))?->lacks($config, (array) $settings);
    }

    /**
     * Horizon's plan for one environment, merged with the defaults as Horizon does it, with option names normalised.
     * Supervisors are a list because their order matters.
     *
     * @return array<string, mixed>|null null where there is no config/horizon.php
     */
    private function horizon(\ArrayAccess $config): ?array
    {
        $horizon = $config['horizon'];

        if (! is_array($horizon)) {
            return null;
        }

        $environment = (string) ($this->order['environment'] ?? $horizon['env'] ?? $config['app.env']);
        $environments = (array) ($horizon['environments'] ?? []);
        $supervisors = null;

        foreach ($environments as $name => $plan) {
            if (Str::is((string) $name, $environment)) {
                $supervisors = [];

                foreach (array_replace_recursive((array) ($horizon['defaults'] ?? []), (array) $plan) as $supervisor => $options) {
                    $supervisors[] = ['name' => (string) $supervisor, 'options' => (object) self::options((array) $options)];
                }

                break;
            }
        }

        return ['environment' => $environment, 'environments' => array_map('strval', array_keys($environments)), 'supervisors' => $supervisors,
            'waits' => (object) ($horizon['waits'] ?? [])];
    }

    /**
     * @param array<string, mixed> $options
     * @return array<string, scalar>
     */
    private static function options(array $options): array
    {
        $spelled = [];

        foreach ($options as $name => $value) {
            $name = Str::camel((string) $name);
            $name = ['tries' => 'maxTries', 'processes' => 'maxProcesses'][$name] ?? $name;
            $value = is_array($value) ? implode(',', $value) : $value;

            if (is_scalar($value)) {
                $spelled[$name] = $value;
            }
        }

        return $spelled;
    }

    private function fail(string $stage, Throwable $error): int
    {
        $this->found['failed'] = [
            'stage' => $stage,
            'text' => ($error instanceof Misconfigured ? '' : get_class($error).': ').$error->getMessage(),
            'fault' => Misconfigured::fault($this->order['path'], $error, $stage !== 'boot'),
        ];

        return $this->tell();
    }

    /** Shutdown function: reports that the app has ended PHP. */
    private function ended(): void
    {
        // Not in a child of the Inspector, which a class may end.
        if (! $this->told && $this->pid === getmypid()) {
            $this->found['failed'] = [
                'stage' => 'boot',
                'text' => Misconfigured::fatal()['message'] ?? '',
                'fault' => Misconfigured::fault($this->order['path'], null, false),
            ];
            $this->tell();
        }
    }

    private function tell(): int
    {
        $this->told = true;
        fwrite(STDOUT, "\n".self::MARK.json_encode($this->found, JSON_INVALID_UTF8_SUBSTITUTE | JSON_PARTIAL_OUTPUT_ON_ERROR | JSON_UNESCAPED_SLASHES)."\n");

        return 0;
    }
}
