<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Symfony\Component\Console\Terminal;

/**
 * The template: the app booted once, forked for each lane and each isolated job.
 *
 * It runs no job and holds no connection. A connection shared over a fork would be closed under the feet of
 * its owner by whichever process ends first, so all of them are closed before each fork.
 */
final class Template
{
    /** @var array<int, string> the worker that each child is, by pid */
    private array $children = [];

    public function __construct(private Wire $wire, private Boot $boot)
    {
    }

    /**
     * Serves the runtime until it lets go of this process.
     *
     * @return array{mode: string, worker: string}|null what to become, in a child; null in the template at its end
     */
    public function run(): ?array
    {
        $description = $this->boot->describe();
        $this->warm();
        Output::prepare();
        $this->wire->send(Wire::READY, ['app' => $description]);

        if (! $description['fork']) {
            $this->wire->receive();

            return null;
        }

        // Its handler does nothing: the signal is there to end the wait for the next frame.
        pcntl_async_signals(true);
        pcntl_signal(SIGCHLD, static function (): void {});

        $inspector = new Inspector($this->boot->app);

        while (($frame = $this->wire->receive($inspector->patience($this->children === [] ? null : 1.0), also: $inspector->pipe())) !== false) {
            $this->reap();
            $this->inspected($inspector);
            [$kind, $order] = $frame ?? [0, []];

            if ($kind === Wire::STOP) {
                break;
            }

            if ($kind === Wire::INSPECT) {
                $inspector->ask($order['classes'] ?? [], $order['properties'] ?? true);
                $this->inspected($inspector);
            }

            if ($kind === Wire::FORK && ($child = $this->fork($order)) !== null) {
                $inspector->forget();

                return $child;
            }
        }

        $this->wire->close();
        // Shutdown functions and destructors of the app belong to processes that ran jobs.
        posix_kill(getmypid(), SIGKILL);

        return null;
    }

    /** Says what has been found out about classes. */
    private function inspected(Inspector $inspector): void
    {
        $inspector->collect();

        if (($found = $inspector->take()) !== []) {
            Inspector::load($found);
            $this->wire->send(Wire::HINTS, Inspector::frame($found));
        }
    }

    /**
     * @param array<string, mixed> $order
     * @return array{mode: string, worker: string}|null
     */
    private function fork(array $order): ?array
    {
        $this->disconnect();
        $pid = @pcntl_fork();

        if ($pid === 0) {
            pcntl_signal(SIGCHLD, SIG_DFL);
            $this->wire->close();
            $this->children = [];
            // The settings may be others than when the template was started.
            $this->boot->order['arguments'] = $order['arguments'];
            $this->boot->setArguments();
            // Otherwise every child would draw the same "random" numbers.
            mt_srand();

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
        Loop::prepare($app);
        $this->boot->kernel->all();
        $app->make('queue.worker');
        // Found out with a process of its own, once.
        Terminal::hasSttyAvailable();

        foreach ([
            'Illuminate\Queue\WorkerOptions', 'Illuminate\Queue\CallQueuedHandler', 'Illuminate\Queue\Events\Looping',
            'Illuminate\Queue\Events\JobPopping', 'Illuminate\Queue\Events\JobPopped', 'Illuminate\Queue\Events\JobProcessing',
            'Illuminate\Queue\Events\JobProcessed', 'Illuminate\Queue\Events\JobAttempted', 'Illuminate\Queue\Events\WorkerStopping',
            'Illuminate\Queue\Jobs\RedisJob', 'Illuminate\Queue\Jobs\DatabaseJob', 'Illuminate\Queue\Jobs\DatabaseJobRecord',
            'Illuminate\Queue\Jobs\JobName', 'Illuminate\Bus\Dispatcher', 'Illuminate\Pipeline\Pipeline', 'Illuminate\Support\Carbon',
            'Illuminate\Log\Context\Repository', 'Symfony\Component\Console\Input\ArgvInput', 'Symfony\Component\Console\Output\NullOutput',
            'Symfony\Component\Console\Event\ConsoleCommandEvent', 'Illuminate\Console\Events\CommandStarting',
            'Illuminate\Contracts\Queue\ShouldBeUnique', 'Illuminate\Contracts\Queue\ShouldBeUniqueUntilProcessing',
            'Illuminate\Console\OutputStyle', 'Illuminate\Console\Events\CommandFinished', 'Illuminate\Log\LogManager',
            'Illuminate\Log\Logger', 'Monolog\Logger', 'Monolog\Utils', 'Monolog\Handler\StreamHandler',
            'Monolog\Handler\RotatingFileHandler', 'Monolog\Formatter\LineFormatter',
            'Symfony\Component\Console\Output\TrimmedBufferOutput', 'Symfony\Component\Console\Formatter\NullOutputFormatter',
            'Symfony\Component\Console\Formatter\NullOutputFormatterStyle', 'Symfony\Component\Console\Exception\RuntimeException',
        ] as $class) {
            class_exists($class) || interface_exists($class);
        }

        gc_collect_cycles();
    }

    private function disconnect(): void
    {
        $app = $this->boot->app;

        if ($app->resolved('db')) {
            foreach ($app['db']->getConnections() as $connection) {
                $connection->disconnect();
            }
        }

        if ($app->resolved('redis')) {
            foreach ((array) $app['redis']->connections() as $name => $connection) {
                try {
                    $connection->disconnect();
                } catch (\Throwable) {
                    // A connection that is already gone is as closed as we want it.
                }
                $app['redis']->purge($name);
            }
        }
    }
}
