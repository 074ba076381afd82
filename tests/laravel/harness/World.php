<?php

declare(strict_types=1);

namespace Kqueue\Tests;

use Closure;
use Illuminate\Contracts\Console\Kernel;
use Illuminate\Foundation\Application;
use Illuminate\Queue\Queue;
use PDO;

/** What a scenario works with: one app, one queue, one engine. */
final class World
{
    use Expectations;

    public readonly Application $laravel;

    public Backend $backend;

    /** @var list<Daemon> */
    private array $daemons = [];

    /** @var list<string> of the jobs that were queued, in that order */
    private array $uuids = [];

    /** @var list<string> where kqueue is meant to differ, and why */
    private array $reasons = [];

    private bool $comparable = true;

    /** @param array<string, string|int|true> $back options that make kqueue behave like stock, if this run has them */
    public function __construct(
        public readonly Sandbox $sandbox,
        public readonly Engine $engine,
        private readonly array $back = [],
    ) {
        $this->laravel = $sandbox->boot();
        $this->backend = $sandbox->service->backend($sandbox);
        Queue::createPayloadUsing(function (?string $connection, ?string $queue, array $payload): array {
            $this->uuids[] = $payload['uuid'];

            return [];
        });
    }

    /** Whether the app's Laravel has at least this version. */
    public function laravelIs(string $version): bool
    {
        return version_compare($this->laravel->version(), $version, '>=');
    }

    /** Queues a job through Laravel and returns its uuid. */
    public function dispatch(object $job, string $queue = 'default', ?int $delay = null): string
    {
        if ($delay !== null) {
            // As a dispatched job does it: the delay is a property of the job as well.
            $job->delay($delay);
        }
        $connection = $this->laravel['queue']->connection($this->sandbox->driver);
        $delay === null ? $connection->push($job, '', $queue) : $connection->later($delay, $job, '', $queue);

        return (string) end($this->uuids);
    }

    /**
     * Dispatches as an app does, subject to unique and debounce locks. Returns the uuid; null if nothing was queued.
     */
    public function send(object $job): ?string
    {
        $before = count($this->uuids);
        dispatch($job);

        return $this->uuids[$before] ?? null;
    }

    /** The uuid of a job that another one has queued, once it has run. */
    public function uuidOf(string $tag): string
    {
        return array_column($this->journal('start'), 'uuid', 'tag')[$tag] ?? throw new Failure("no '{$tag}' has run");
    }

    /** Queues a job of the old kind, a class name and data. */
    public function push(string $job, mixed $data, string $queue = 'default'): string
    {
        $this->laravel['queue']->connection($this->sandbox->driver)->push($job, $data, $queue);

        return (string) end($this->uuids);
    }

    /**
     * Queues $count copies of a job through Laravel, in bulk.
     *
     * @return list<string> their uuids
     */
    public function dispatchMany(object $job, int $count, string $queue = 'default'): array
    {
        $before = count($this->uuids);
        // SQLite limits the values of one statement.
        foreach (array_chunk(array_fill(0, $count, $job), 500) as $jobs) {
            $connection = $this->laravel['queue']->connection($this->sandbox->driver);
            // Before 13, Laravel cannot queue in bulk in a cluster.
            $this->sandbox->server instanceof RedisClusterServer
                ? array_walk($jobs, static fn (object $job) => $connection->push($job, '', $queue))
                : $connection->bulk($jobs, '', $queue);
        }

        return array_slice($this->uuids, $before);
    }

    /** Puts bytes on the queue as they are. */
    public function pushRaw(string $payload, string $queue = 'default'): void
    {
        $this->backend->push($payload, $queue);
    }

    /** Runs an artisan command in the app, in this process. */
    public function artisan(string $command, mixed ...$arguments): void
    {
        $this->laravel[Kernel::class]->call($command, $arguments);
    }

    /**
     * Works the queue until it is empty. Stock is restarted when it dies, as a process manager would do; kqueue must
     * not need that.
     *
     * @param array<string, string|int|true> $options
     * @return int the last exit status
     */
    public function work(array $options = [], float $seconds = 30.0): int
    {
        for ($runs = 0; $runs < 30; $runs++) {
            $status = $this->start($options + ['stop-when-empty' => true])->wait($seconds);
            if ($status === 0 || $this->engine->isKqueue()) {
                break;
            }
        }
        if ($this->engine->isKqueue() && $status !== 0) {
            throw new Failure("kqueue ended with {$status}");
        }

        return $status;
    }

    /**
     * Starts the engine in the background.
     *
     * @param array<string, string|int|true> $options
     * @param array<string, string> $env
     */
    public function start(array $options = [], array $env = []): Daemon
    {
        return $this->daemons[] = new Daemon($this->engine->command($this->sandbox, $this->back + $options), $this->sandbox, $env);
    }

    /**
     * Starts a stock worker in addition to what works the queue.
     *
     * @param array<string, string|int|true> $options
     */
    public function startStock(array $options = []): Daemon
    {
        return $this->daemons[] = new Daemon((new Engine('stock', ''))->command($this->sandbox, $options), $this->sandbox);
    }

    /** Starts a stock worker as its operator would, in the app's directory. */
    public function startByHand(string ...$arguments): Daemon
    {
        $command = implode(' ', array_map('escapeshellarg', [PHP_BINARY, 'artisan', 'queue:work', ...$arguments]));

        return $this->daemons[] = new Daemon(['sh', '-c', 'cd ' . escapeshellarg($this->sandbox->app) . " && exec {$command}"], $this->sandbox);
    }

    /** Kills the engine with SIGKILL and waits until its PHP processes have ended: as in an out-of-memory kill. */
    public function killEngine(Daemon $daemon): void
    {
        $daemon->signal(SIGKILL);
        $daemon->wait();
        Wait::until(static fn (): bool => $daemon->php() === [], 'every PHP process to end');
    }

    /**
     * The output of `kqueue status --json`, and its exit code.
     *
     * @return array{0: array<string, mixed>, 1: int}
     */
    public function status(): array
    {
        return self::told($this->engine->status($this->sandbox));
    }

    /**
     * The result of another kqueue command.
     *
     * @return array{array<string, mixed>, int} its JSON, or its error message as `state`, and its exit code
     */
    public function kqueue(string ...$words): array
    {
        return self::told($this->engine->about($this->sandbox, ...$words));
    }

    /**
     * @param list<string> $command
     * @return array{array<string, mixed>, int}
     */
    private static function told(array $command): array
    {
        exec(implode(' ', array_map('escapeshellarg', $command)) . ' 2>&1', $lines, $code);

        return [json_decode(implode("\n", $lines), true) ?? ['state' => implode("\n", $lines)], $code];
    }

    /**
     * Waits until `kqueue status` reports this state, with this exit code.
     *
     * @return array<string, mixed> the status
     */
    public function waitForStatus(string $state, int $code = 0, ?\Closure $fits = null): array
    {
        $shown = [];
        try {
            return Wait::until(function () use ($state, $code, $fits, &$shown): ?array {
                [$shown, $ended] = $this->status();

                return $shown['state'] === $state && $ended === $code && ($fits === null || $fits($shown)) ? $shown : null;
            }, "status {$state} (exit code {$code})", 20.0, 50_000);
        } catch (Failure $failure) {
            throw new Failure($failure->getMessage() . '; status: ' . ($shown['status'] ?? $shown['state'] ?? 'nothing'));
        }
    }

    /**
     * Sends a request to kqueue's control socket, and returns the reply.
     *
     * @param array<string, mixed> $more fields of the request
     * @return array<string, mixed>
     */
    public function ask(string $what, array $more = []): array
    {
        $socket = stream_socket_client("unix://{$this->sandbox->dir}/run/control.sock", $code, $error, 5.0)
            ?: throw new Failure("the control socket: {$error}");
        fwrite($socket, json_encode(['ask' => $what] + $more, JSON_THROW_ON_ERROR) . "\n");
        $answer = (string) stream_get_contents($socket);
        fclose($socket);
        $told = json_decode($answer, true) ?? throw new Failure("no answer to {$what}: {$answer}");

        return isset($told['unable']) ? throw new Failure("{$what}: {$told['unable']}") : $told;
    }

    /** Number of waiting, delayed and reserved jobs as Laravel counts them. Cheap, whatever the number. */
    public function size(string $queue = 'default'): int
    {
        return $this->sandbox->service->size($this->laravel['queue']->connection($this->sandbox->driver), $queue);
    }

    /**
     * Starts an artisan command in the background, in a process of its own.
     *
     * @param list<string> $arguments
     * @param array<string, string> $env
     * @param list<string> $php arguments of PHP itself
     */
    public function startArtisan(array $arguments, array $env = [], array $php = []): Daemon
    {
        return $this->daemons[] = new Daemon([PHP_BINARY, ...$php, $this->sandbox->app . '/artisan', ...$arguments], $this->sandbox, $env);
    }

    /**
     * The tiers in which jobs of a class ran, sorted, once kqueue's log has $count of them.
     *
     * @return list<string>
     */
    public function tiers(string $class, int $count = 1): array
    {
        return Wait::until(function () use ($class, $count): ?array {
            preg_match_all('/^\S+  ' . preg_quote($class, '/') . ' +(inline|pooled|isolated) /m', $this->output(), $found);
            sort($found[1]);

            return count($found[1]) >= $count ? $found[1] : null;
        }, "the tiers of {$count} × {$class}");
    }

    /**
     * Checks where kqueue is meant to differ, and records why. A run that acts as stock is held to stock.
     *
     * @param non-empty-string $why
     * @param Closure|null $native the check where kqueue's workers pop by themselves; null: $kqueue
     */
    public function differs(string $why, Closure $stock, Closure $kqueue, ?Closure $native = null): void
    {
        $differs = $this->isNative() && $native !== null ? $native : $kqueue;
        if ($this->actsAsStock() || $differs === $stock) {
            $stock();

            return;
        }
        $this->comparable = false;
        $this->reasons = array_values(array_unique([...$this->reasons, $why]));
        $differs();
    }

    /**
     * Checks where kqueue differs because it holds the reservation itself. Where its workers pop by themselves, it
     * does not, and is held to stock.
     *
     * @param non-empty-string $why
     */
    public function differsWhereHeld(string $why, Closure $stock, Closure $kqueue): void
    {
        $this->differs($why, $stock, $kqueue, native: $stock);
    }

    /** Whether the queue is in the app's own database. */
    public function isInDatabase(): bool
    {
        return in_array($this->sandbox->driver, ['database', 'own'], true);
    }

    /** Whether it is kqueue that works the queue, and its workers pop by themselves. */
    public function isNative(): bool
    {
        return $this->engine->isKqueue() && $this->sandbox->service->isNative();
    }

    /**
     * Excludes this scenario from the comparison, because its result varies from run to run.
     *
     * @param non-empty-string $why
     */
    public function leftToChance(string $why): void
    {
        $this->comparable = false;
    }

    /** @return array{reasons: list<string>, observed: array<string, mixed>|null} what the runs of a row are compared by */
    public function observe(Row $row): array
    {
        $comparable = $this->comparable && in_array('stock', $row->engines, true);

        return ['reasons' => $this->reasons, 'observed' => $comparable ? (new Observation($this, $this->uuids))->take() : null];
    }

    public function actsAsStock(): bool
    {
        return ! $this->engine->isKqueue() || $this->back !== [];
    }

    /** @return list<array<string, mixed>> the facts in the journal, oldest first */
    public function journal(?string $what = null, ?string $uuid = null): array
    {
        return Facts::read($this->sandbox->journal(), $what, $uuid);
    }

    /** Waits for $count facts of a kind, and returns them. */
    public function waitFor(string $what, int $count = 1, float $seconds = 15.0, ?string $uuid = null): array
    {
        return Wait::until(function () use ($what, $count, $uuid): ?array {
            $facts = $this->journal($what, $uuid);

            return count($facts) >= $count ? $facts : null;
        }, "{$count} × '{$what}' in the journal", $seconds);
    }

    /** Waits until the queue holds exactly these numbers of jobs. */
    public function waitForQueue(int $ready = 0, int $delayed = 0, int $reserved = 0, int $broken = 0, float $seconds = 15.0): void
    {
        $want = compact('ready', 'delayed', 'reserved', 'broken');
        Wait::until(fn (): bool => $this->backend->state()->counts() === $want, 'the queue to hold ' . json_encode($want), $seconds);
    }

    /** Renews Laravel's connections and the harness's own after the server has been gone. */
    public function redial(): void
    {
        $this->laravel['redis']->purge('default');
        $this->laravel['db']->reconnect();
        $this->backend = $this->sandbox->service->backend($this->sandbox);
    }

    /** @return list<array<string, mixed>> jobs that could be taken now, in order */
    public function queued(string $queue = 'default'): array
    {
        return $this->backend->state($queue)->ready;
    }

    /** @return list<array<string, mixed>> rows of failed_jobs */
    public function failed(): array
    {
        $rows = $this->sandbox->database()->query('select * from failed_jobs order by id')->fetchAll(PDO::FETCH_ASSOC);

        return array_map(fn (array $row): array => ['queue' => $this->sandbox->service->plain($this->sandbox, $row['queue'])] + $row, $rows);
    }

    public function makeDue(): void
    {
        $this->backend->makeDue();
    }

    public function expireLeases(): void
    {
        $this->backend->expireLeases();
    }

    /**
     * Dispatches jobs until one is not taken, and returns its uuid: the queue is held. The first jobs may still run,
     * if they were being taken when the hold began.
     */
    public function dispatchHeld(float $alone = 1.0): string
    {
        $this->leftToChance('how many jobs are taken before the queue is held');
        // An engine's knowledge of the signals may be some milliseconds old: time for a few quick jobs.
        for ($i = 0; $i < 20; $i++) {
            $uuid = $this->dispatch(new \App\Jobs\Plain());
            for ($end = hrtime(true) + $alone * 1e9; ($ran = $this->journal('start', $uuid) !== []) === false && hrtime(true) < $end;) {
                usleep(10000);
            }
            if (! $ran) {
                $this->expectQueue(ready: 1);

                return $uuid;
            }
        }

        throw new Failure('the queue is not held: every job was taken');
    }

    /**
     * A PHP without pcntl. Debian's has it built in, so its functions are disabled, and Laravel's check whether the
     * extension is loaded gets false.
     */
    public function phpWithoutPcntl(): string
    {
        $file = $this->sandbox->dir . '/php-without-pcntl';
        $functions = implode(',', array_filter(get_defined_functions()['internal'], static fn (string $name): bool => str_starts_with($name, 'pcntl_')));
        $prepend = dirname(__DIR__) . '/app/without-pcntl.php';
        file_put_contents($file, "#!/bin/sh\nexec " . PHP_BINARY . " -d disable_functions={$functions} -d auto_prepend_file={$prepend} \"\$@\"\n");
        chmod($file, 0755);

        return $file;
    }

    /** The output of all engine runs of this scenario. */
    public function output(): string
    {
        return implode("\n", array_map(static fn (Daemon $daemon): string => $daemon->output(), $this->daemons));
    }
}
