<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Illuminate\Foundation\Console\Kernel;
use Symfony\Component\Console\Terminal;

/**
 * The template: forked for each lane and each isolated job. It has booted the app; or, where the booted app holds
 * something that processes must not share, only its first part ({@see Boot::begin()}), and each fork boots the rest.
 *
 * It runs no job and holds no connection: processes that share one read each other's replies. So connections are closed
 * before each fork, and what is still open is reported ({@see Held}).
 */
final class Template
{
    /** Seconds between checks for exited children while no frame arrives. */
    private const LOOK = 1.0;

    /** Limit of the class names that a fully booted template reports for the next template. */
    private const CLASSES = 6_000;

    /** @var array<int, string> worker of each child, by pid */
    private array $children = [];

    private Randomness $randomness;

    /** Seconds without a frame after which a template in a hurry loads what it has put off. */
    private const HURRY = 0.5;

    /** Whether this template stops before the app's service providers. */
    private bool $early;

    /** Whether a job waits for the first fork. Then {@see warm()} is put off; the fork loads its classes itself. */
    private bool $hurry;

    public function __construct(private Wire $wire, private Boot $boot)
    {
        $this->early = (bool) ($boot->order['early'] ?? false);
        $this->hurry = (bool) ($boot->order['hurry'] ?? false);
    }

    /**
     * Serves the runtime until it closes the connection or, after a STOP, the last child has exited.
     *
     * @return array{mode: string, worker: string}|null in a child, its mode and worker; null in the template at its end
     */
    public function run(): ?array
    {
        $ready = $this->early ? [] : ['app' => $this->boot->describe()];
        Loop::prepare($this->boot->app);
        $this->hurry || $this->warm();
        Output::prepare();

        if (! ($ready['app']['fork'] ?? true)) {
            $this->wire->send(Wire::READY, $ready);
            $this->wire->receive();

            return null;
        }

        $this->early || Connections::flush($this->boot->app, $this->boot->connection(), $ready['app']['queue']);
        Connections::close($this->boot->app);
        $this->boot->held->note('after the app had booted');
        $this->randomness = new Randomness($this->boot->app);
        $this->wire->send(Wire::READY, $ready + $this->held());

        $inspector = new Inspector($this->boot->app);
        // Set by STOP. Only the parent gets the exit statuses of its children, so it leaves after the last one.
        $leaves = false;

        while (($frame = $this->wire->receive($inspector->patience($this->look()), also: $inspector->pipe())) !== false) {
            $this->reap();
            $this->inspected($inspector);
            [$kind, $order] = $frame ?? [0, []];

            $leaves = $leaves || $kind === Wire::STOP;

            if ($leaves && $this->children === []) {
                break;
            }

            if ($kind === Wire::INSPECT) {
                $inspector->ask($order['classes'] ?? [], $order['properties'] ?? true);
                $this->inspected($inspector);
            }

            $this->boot->held?->ours($inspector->pipe());

            if ($kind === Wire::FORK && ($child = $this->fork($order)) !== null) {
                $inspector->forget();

                return $child;
            }

            // Not while the first fork prepares for its job: it would compete for the processors.
            if ($this->hurry && ($frame === null || count($this->children) > 1)) {
                $this->hurry = false;
                $this->warm();
            }
        }

        $this->wire->close();
        // SIGKILL: shutdown functions and destructors of the app are to run only in processes that ran jobs.
        posix_kill(getmypid(), SIGKILL);

        return null;
    }

    /** Seconds to wait for a frame; null is without limit. */
    private function look(): ?float
    {
        return $this->hurry ? self::HURRY : ($this->children === [] ? null : self::LOOK);
    }

    /** Sends HINTS for the classes inspected since the last call, and loads them. */
    private function inspected(Inspector $inspector): void
    {
        $inspector->collect();

        if (($found = $inspector->take()) !== []) {
            Inspector::load($found);
            $this->wire->send(Wire::HINTS, Inspector::frame($found));
        }
    }

    /**
     * What makes a fork of this process unsafe, and the classes that the next, early template can load. Empty for a
     * runtime that did not send `fork_safe_peers`, which may be older than this file.
     *
     * @return array<string, mixed>
     */
    private function held(): array
    {
        $held = isset($this->boot->order['fork_safe_peers']) ? $this->boot->held->left() : [];

        if ($held === [] || $this->early) {
            return $held === [] ? [] : ['held' => $held];
        }

        $classes = array_filter(get_declared_classes(), static function (string $class): bool {
            return ! str_contains($class, '@') && ! str_starts_with($class, __NAMESPACE__) && (new \ReflectionClass($class))->isUserDefined();
        });

        return ['held' => $held, 'classes' => array_slice(array_values($classes), 0, self::CLASSES)];
    }

    /**
     * @param array<string, mixed> $order
     * @return array{mode: string, worker: string}|null
     */
    private function fork(array $order): ?array
    {
        Connections::close($this->boot->app);

        // Loading an inspected class may have opened something since.
        if (($held = $this->held()) !== []) {
            $this->wire->send(Wire::FORKED, ['worker' => (string) $order['worker'], 'pid' => -1, 'error' => null] + $held);

            return null;
        }

        $this->randomness->beforeFork();
        $pid = @pcntl_fork();

        if ($pid === 0) {
            $this->wire->close();
            $this->children = [];
            // A process group of its own: a job that signals its group is to reach only itself and its children.
            function_exists('posix_setpgid') && posix_setpgid(0, 0);
            // The settings may have changed since the template was started.
            $this->boot->order['arguments'] = $order['arguments'];
            $this->boot->setArguments();
            $_SERVER['REQUEST_TIME_FLOAT'] = microtime(true);
            $_SERVER['REQUEST_TIME'] = (int) $_SERVER['REQUEST_TIME_FLOAT'];
            $this->randomness->afterFork();

            return ['mode' => $order['mode'], 'worker' => (string) $order['worker']];
        }

        if ($pid > 0) {
            $this->children[$pid] = (string) $order['worker'];
        }

        $this->wire->send(Wire::FORKED, [
            'worker' => (string) $order['worker'],
            'pid' => $pid,
            'error' => $pid < 0 ? pcntl_strerror(pcntl_get_last_error()) : null,
        ]);

        return null;
    }

    /**
     * Reports the exit statuses of children. The runtime notices that one exits and sends REAP. There is no SIGCHLD
     * handler: PHP cannot remove it again, and in a fork it would interrupt the blocking calls of jobs.
     */
    private function reap(): void
    {
        while ($this->children !== [] && ($pid = pcntl_waitpid(-1, $status, WNOHANG)) > 0) {
            if (! isset($this->children[$pid])) {
                continue;
            }

            $this->wire->send(Wire::EXITED, [
                'worker' => $this->children[$pid],
                'pid' => $pid,
                'code' => pcntl_wifexited($status) ? pcntl_wexitstatus($status) : null,
                'signal' => pcntl_wifsignaled($status) ? pcntl_wtermsig($status) : null,
            ]);
            unset($this->children[$pid]);
        }
    }

    /** Loads what every job needs, so that no child has to. Opens no connection. */
    private function warm(): void
    {
        $app = $this->boot->app;

        if (! $this->early) {
            // Not `all()`: that makes every command of the app, which queue:work does not either.
            $this->boot->kernel instanceof Kernel ? (fn () => $this->getArtisan()->find('queue:work'))->call($this->boot->kernel) : $this->boot->kernel->all();
            $app->make('queue.worker');
        }

        // Starts a process to find out, once.
        Terminal::hasSttyAvailable();

        foreach ([
            ...$this->boot->order['classes'] ?? [],
            'Illuminate\Queue\WorkerOptions', 'Illuminate\Queue\CallQueuedHandler', 'Illuminate\Queue\Events\Looping',
            'Illuminate\Queue\Events\JobPopping', 'Illuminate\Queue\Events\JobPopped', 'Illuminate\Queue\Events\JobProcessing',
            'Illuminate\Queue\Events\JobProcessed', 'Illuminate\Queue\Events\JobAttempted', 'Illuminate\Queue\Events\WorkerStopping',
            ...Driver::classes(), 'Illuminate\Queue\Jobs\JobName', 'Illuminate\Bus\Dispatcher', 'Illuminate\Pipeline\Pipeline', 'Illuminate\Support\Carbon',
            'Illuminate\Log\Context\Repository', 'Symfony\Component\Console\Input\ArgvInput', 'Symfony\Component\Console\Output\NullOutput',
            'Symfony\Component\Console\Event\ConsoleCommandEvent', 'Illuminate\Console\Events\CommandStarting',
            'Illuminate\Contracts\Queue\ShouldBeUnique', 'Illuminate\Contracts\Queue\ShouldBeUniqueUntilProcessing',
            'Illuminate\Console\OutputStyle', 'Illuminate\Console\Events\CommandFinished', 'Illuminate\Log\LogManager',
            'Illuminate\Log\Logger', 'Monolog\Logger', 'Monolog\Utils', 'Monolog\Handler\StreamHandler',
            'Monolog\Handler\RotatingFileHandler', 'Monolog\Formatter\LineFormatter',
            'Symfony\Component\Console\Output\TrimmedBufferOutput', 'Symfony\Component\Console\Formatter\NullOutputFormatter',
            'Symfony\Component\Console\Formatter\NullOutputFormatterStyle', 'Symfony\Component\Console\Exception\RuntimeException',
            'Illuminate\Console\View\Components\Factory', 'Illuminate\Queue\Events\WorkerStarting', 'Illuminate\Contracts\Queue\Interruptible',
            'Illuminate\Foundation\MaintenanceModeManager', 'Illuminate\Foundation\FileBasedMaintenanceMode', 'Illuminate\Cache\Events\RetrievingKey',
            'Illuminate\Cache\Events\CacheMissed', 'Illuminate\Bus\Queueable', 'Illuminate\Support\Facades\Context',
            'Illuminate\Log\Context\Events\ContextHydrated', 'Illuminate\Support\Defer\DeferredCallbackCollection', 'Laravel\Prompts\Prompt',
            ...array_map(static fn (string $kind): string => "Laravel\Prompts\\{$kind}Prompt", [
                'Text', 'Textarea', 'Number', 'Password', 'Pause', 'Confirm', 'Select', 'MultiSelect', 'Suggest', 'Search', 'MultiSearch',
            ]),
        ] as $class) {
            try {
                class_exists($class) || interface_exists($class) || trait_exists($class);
            } catch (\Throwable) {
                // Cannot be loaded before the app has booted.
            }
        }

        gc_collect_cycles();
    }
}
