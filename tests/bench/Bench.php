<?php

declare(strict_types=1);

namespace Kqueue\Tests;

use App\Jobs\Timed;
use Illuminate\Foundation\Application;
use RuntimeException;
use Throwable;

/** The benchmarks. Each gives its figures for both engines, measured in turn. */
final class Bench
{
    /** Milliseconds of processor time in a second that a server may use by itself, for all that can be told apart. */
    private const NOTHING = 0.5;

    private RedisServer $redis;

    private Server $server;

    private Sandbox $sandbox;

    private Application $laravel;

    private int $passed = 0;

    private int $failed = 0;

    public function __construct(private readonly string $kqueue, private readonly bool $quick, private readonly string $driver)
    {
        is_executable($kqueue) || throw new RuntimeException("{$kqueue} is no program; build it, or name it in KQUEUE_BIN");
    }

    public function run(): bool
    {
        $dir = sys_get_temp_dir() . '/kqueue-bench-' . getmypid();
        // PostgreSQL runs as nobody, and passes through here.
        mkdir($dir, 0755);
        $this->redis = RedisServer::start($dir . '/redis');
        $service = Service::named($this->driver);
        // As over a network.
        $this->driver === 'sqs' && putenv(SqsServer::LATENCY . '=5');
        $this->server = $this->driver === 'redis' ? $this->redis : $service->start($dir . '/server');
        $this->sandbox = new Sandbox($dir . '/app', $service, $this->server, $this->redis, null, ['RECORD' => 'false', 'CACHE_STORE' => 'file']);
        $this->laravel = $this->sandbox->boot();
        printf("Laravel %s, PHP %s, %s; medians\n\n", $this->laravel->version(), PHP_VERSION, $service::TITLE);
        printf("%-52s %12s %12s %9s %8s\n", '', 'queue:work', 'kqueue', 'ratio', 'floor');

        try {
            $this->throughput();
            $this->latency();
            in_array($this->driver, ['redis', 'sqs'], true) || $this->idleLoad();
            if ($this->driver === 'redis') {
                $this->isolatedStart();
                $this->memory();
                $this->idle();
                $this->wake();
            }
        } catch (Throwable $e) {
            // Said here: the app that is booted in this process would want to say it, and is about to be removed.
            echo $e, "\n";
            $this->failed++;
        } finally {
            Processes::kill(SIGKILL, ...Processes::of($this->sandbox->dir));
            $this->server->stop();
            $this->redis->stop();
            Files::remove($dir);
        }
        printf("\n%d passed, %d failed\n", $this->passed, $this->failed);

        return $this->failed === 0;
    }

    /** Empty jobs a second, one PHP process each. Measured between jobs, so that no start-up is in it. */
    private function throughput(): void
    {
        // On SQS, stock makes two calls for each job over the network.
        $jobs = ($this->quick ? 3000 : 10000) / ($this->driver === 'sqs' ? 5 : 1);
        $figures = $this->inTurn($this->quick ? 3 : 5, function (Engine $engine) use ($jobs): float {
            $marks = $this->file();
            // The first ones find a worker that has loaded nothing yet.
            $warm = intdiv($jobs, 10);
            $batch = array_fill(0, $warm, new Timed());
            array_push($batch, new Timed($marks), ...array_fill(0, $jobs, new Timed()));
            $batch[] = new Timed($marks);
            $this->laravel['queue']->connection($this->sandbox->driver)->bulk($batch);
            $daemon = $this->start($engine, ['max-concurrent-inline' => 1, 'worker-max-jobs' => 0, 'stop-when-empty' => true]);
            $daemon->wait(120);
            [$first, $last] = $this->starts($marks, 2);

            return $jobs / ($last - $first);
        });
        $this->row('empty jobs a second, one PHP process', $figures, '%.0f', $this->ratio($figures['kqueue'], $figures['stock']), $this->driver === 'sqs' ? 5 : 2.5);
    }

    /** From dispatch to the first line of handle(), nothing else going on. */
    private function latency(): void
    {
        $samples = ['stock' => $this->quick ? 4 : 10, 'kqueue' => $this->quick ? 50 : 200];
        $figures = $worst = [];
        foreach ($this->engines() as $name => $engine) {
            $marks = $this->file();
            $daemon = $this->start($engine, []);
            // The first job finds out when it is up.
            $this->dispatch(new Timed($marks));
            $this->starts($marks, 1);
            $times = [];
            for ($i = 0; $i < $samples[$name]; $i++) {
                $marks = $this->file();
                // Not in step with anything that looks around at regular times.
                usleep($name === 'stock' ? random_int(0, 1_000_000) : random_int(5_000, 40_000));
                $made = microtime(true);
                $this->dispatch(new Timed($marks));
                $times[] = ($this->starts($marks, 1)[0] - $made) * 1000;
            }
            $daemon->stop();
            sort($times);
            $figures[$name] = $times;
            $worst[$name] = [$times[(int) ceil(0.99 * count($times)) - 1]];
        }
        $this->row('dispatch to start when idle, ms', $figures, '%.1f', $this->ratio($figures['stock'], $figures['kqueue']), 20);
        $this->row('  the slowest of a hundred, ms', $worst, '%.1f', $this->ratio($worst['stock'], $worst['kqueue']), $this->driver === 'sqs' ? 2 : 20);
    }

    /** What the server has to do while there is nothing to do, in processor time. */
    private function idleLoad(): void
    {
        $seconds = $this->quick ? 20 : 60;
        $figures = ['stock' => [], 'kqueue' => []];
        foreach ($this->engines() as $name => $engine) {
            $daemon = $this->start($engine, []);
            $marks = $this->file();
            $this->dispatch(new Timed($marks));
            $this->starts($marks, 1);
            // The first seconds after a job are not idle yet.
            sleep($seconds);
            $before = $this->load();
            sleep($seconds);
            $figures[$name][] = ($this->load() - $before) / $seconds;
            $daemon->stop();
        }
        $before = $this->load();
        sleep($seconds);
        $nobody = ($this->load() - $before) / $seconds;
        foreach ($figures as &$of) {
            $of[0] = max(0.0, $of[0] - $nobody);
        }
        $this->row('processor time of the idle server, ms a second', $figures, '%.2f', $this->ratio([max(self::NOTHING, $figures['stock'][0])], $figures['kqueue']), 0.2);
    }

    /** Milliseconds of processor time that the server has used, of all its processes. */
    private function load(): float
    {
        $tasks = [];
        foreach (Processes::within($this->server->dir) as $pid) {
            $tasks = [...$tasks, ...(glob("/proc/{$pid}/task/*/schedstat") ?: [])];
        }

        return array_sum(array_map(static fn (string $task): float => (float) explode(' ', (string) @file_get_contents($task))[0], $tasks)) / 1e6;
    }

    /** A process of its own for one job: a fork of the template, against `queue:work --once`. */
    private function isolatedStart(): void
    {
        $runs = $this->quick ? 5 : 15;
        $daemon = $this->start($this->engines()['kqueue'], []);
        $marks = $this->file();
        $this->dispatch(new Timed($marks, true));
        $this->starts($marks, 1);
        $figures = ['stock' => [], 'kqueue' => []];
        for ($i = 0; $i < $runs; $i++) {
            // One after the other: the last process has gone when the next job comes.
            usleep(50_000);
            $marks = $this->file();
            $made = microtime(true);
            $this->dispatch(new Timed($marks, true));
            $figures['kqueue'][] = ($this->starts($marks, 1)[0] - $made) * 1000;
        }
        $daemon->stop();
        for ($i = 0; $i < $runs; $i++) {
            $marks = $this->file();
            $this->dispatch(new Timed($marks));
            $made = microtime(true);
            $once = new Daemon([PHP_BINARY, $this->sandbox->app . '/artisan', 'queue:work', $this->sandbox->driver, '--once'], $this->sandbox);
            $figures['stock'][] = ($this->starts($marks, 1)[0] - $made) * 1000;
            $once->wait();
        }
        $this->row('isolated start (queue:work --once), ms', $figures, '%.1f', $this->ratio($figures['stock'], $figures['kqueue']), 4);
    }

    /** What ten processes that can run jobs take, in memory that would be free without them. */
    private function memory(): void
    {
        $lanes = 10;
        $marks = $this->file();
        $figures = [];
        foreach ($this->engines() as $name => $engine) {
            $daemons = [];
            if ($name === 'stock') {
                for ($i = 0; $i < $lanes; $i++) {
                    $daemons[] = $this->start($engine, []);
                }
                foreach (range(1, $lanes) as $_) {
                    $this->dispatch(new Timed($marks));
                }
                $this->starts($marks, $lanes);
            } else {
                // Each holds a job for a moment, so that there is a lane for every one of them.
                $daemons[] = $this->start($engine, ['max-concurrent-inline' => $lanes, 'pool-min-idle' => 0, 'pool-size' => 1, 'inline-max-duration' => 5]);
                foreach (range(1, $lanes) as $_) {
                    $this->dispatch(new Timed(null, false, 1500));
                }
                Wait::until(fn (): bool => count($daemons[0]->php()) >= $lanes + 1, 'ten lanes', 30);
            }
            $pids = array_merge(...array_map(static fn (Daemon $daemon): array => [...$daemon->php(), ...($name === 'stock' ? [$daemon->pid] : [])], $daemons));
            $figures[$name] = [array_sum(array_map(self::pss(...), array_unique($pids))) / 1024];
            if ($name === 'kqueue') {
                printf("%-52s %12s %12.1f\n", 'memory of the runtime itself (resident), MB', '', self::field($daemons[0]->pid, 'status', 'VmRSS') / 1024);
            }
            foreach ($daemons as $daemon) {
                $daemon->stop(30);
            }
        }
        $this->row('ten processes for jobs (PSS), MB', $figures, '%.0f', $this->ratio($figures['stock'], $figures['kqueue']), 1.2);
    }

    /** What an app takes that has nothing to do: at once, and when it has fallen asleep. */
    private function idle(): void
    {
        $figures = [];
        foreach ($this->engines() as $name => $engine) {
            $daemon = $this->start($engine, ['idle-after' => '8s']);
            $marks = $this->file();
            $this->dispatch(new Timed($marks));
            $this->starts($marks, 1);
            // Until what it keeps warm has booted.
            $name === 'kqueue' && Wait::until(static fn (): bool => count($daemon->php()) >= 4, 'template, lane and pool', 30);
            usleep(1_500_000);
            $figures['awake'][$name] = [Idle::memory($daemon)];
            if ($name === 'kqueue') {
                Wait::until(static fn (): bool => Idle::isAsleep($daemon), 'sleep', 60);
                usleep(500_000);
            }
            $figures['asleep'][$name] = [Idle::memory($daemon)];
            $daemon->stop(30);
        }
        $ratio = fn (string $of): float => $this->ratio($figures[$of]['stock'], $figures[$of]['kqueue']);
        $this->row('an idle app, awake (PSS), MB', $figures['awake'], '%.1f', $ratio('awake'), 0.1);
        $this->row('an idle app, asleep (PSS), MB', $figures['asleep'], '%.1f', $ratio('asleep'), 1);
    }

    /** From dispatch to the first line of handle() of an app that sleeps, against a cold start for that job. */
    private function wake(): void
    {
        $marks = $this->file();
        $daemon = $this->start($this->engines()['kqueue'], ['idle-after' => '200ms']);
        // What it was, is known.
        foreach (range(1, 12) as $_) {
            $this->dispatch(new Timed($marks));
        }
        $this->starts($marks, 12);
        $figures = ['stock' => [], 'kqueue' => []];
        for ($i = 0; $i < ($this->quick ? 15 : 31); $i++) {
            Wait::until(static fn (): bool => Idle::isAsleep($daemon) && substr_count($daemon->output(), 'asleep until there is one') > $i, 'sleep', 60);
            $marks = $this->file();
            $made = microtime(true);
            $this->dispatch(new Timed($marks));
            $figures['kqueue'][] = ($this->starts($marks, 1)[0] - $made) * 1000;
            // It is awake, and does not take that job.
            $this->laravel['queue']->connection($this->sandbox->driver)->push(new Timed($marks = $this->file()), '', 'cold');
            $made = microtime(true);
            $once = new Daemon([PHP_BINARY, $this->sandbox->app . '/artisan', 'queue:work', $this->sandbox->driver, '--once', '--queue=cold'], $this->sandbox);
            $figures['stock'][] = ($this->starts($marks, 1)[0] - $made) * 1000;
            $once->wait();
        }
        $daemon->stop();
        $this->row('an app that sleeps (queue:work --once), ms', $figures, '%.0f', $this->ratio($figures['stock'], $figures['kqueue']), 0.5);
    }

    private static function pss(int $pid): int
    {
        return self::field($pid, 'smaps_rollup', 'Pss');
    }

    private static function field(int $pid, string $file, string $name): int
    {
        preg_match("/^{$name}:\s+(\d+)/m", (string) @file_get_contents("/proc/{$pid}/{$file}"), $found);

        return (int) ($found[1] ?? 0);
    }

    /**
     * @param callable(Engine): float $measure
     * @return array{stock: list<float>, kqueue: list<float>}
     */
    private function inTurn(int $runs, callable $measure): array
    {
        $figures = ['stock' => [], 'kqueue' => []];
        for ($i = 0; $i < $runs; $i++) {
            foreach ($this->engines() as $name => $engine) {
                $figures[$name][] = $measure($engine);
            }
        }

        return $figures;
    }

    /** @return array{stock: Engine, kqueue: Engine} */
    private function engines(): array
    {
        return ['stock' => new Engine('stock', ''), 'kqueue' => new Engine('kqueue', $this->kqueue)];
    }

    /** @param array<string, string|int|true> $options */
    private function start(Engine $engine, array $options): Daemon
    {
        $command = $engine->command($this->sandbox, $options);

        // As it comes: the suite lets stock look for jobs far more often than its users do.
        return new Daemon(array_values(array_diff($command, ['--sleep=0.02', '--pool-min-idle=1'])), $this->sandbox);
    }

    private function dispatch(object $job): void
    {
        $this->laravel['queue']->connection($this->sandbox->driver)->push($job);
    }

    private function file(): string
    {
        static $count = 0;

        return $this->sandbox->dir . '/marks-' . ++$count;
    }

    /** @return list<float> when jobs started, once as many have as are expected */
    private function starts(string $file, int $count): array
    {
        $until = microtime(true) + 120;
        while (count($lines = @file($file) ?: []) < $count) {
            microtime(true) < $until || throw new RuntimeException("{$count} jobs did not start");
            usleep(200);
        }

        return array_map(static fn (string $line): float => (float) explode(' ', $line)[1], $lines);
    }

    /** @param list<float> $of @param list<float> $to */
    private function ratio(array $of, array $to): float
    {
        return self::median($of) / max(self::median($to), 1e-9);
    }

    /** @param array{stock: list<float>, kqueue: list<float>} $figures */
    private function row(string $what, array $figures, string $format, float $ratio, float $floor): void
    {
        $ok = $ratio >= $floor;
        $ok ? $this->passed++ : $this->failed++;
        printf(
            "%-52s %12s %12s %8.1fx %7.1fx%s\n",
            $what,
            sprintf($format, self::median($figures['stock'])),
            sprintf($format, self::median($figures['kqueue'])),
            $ratio,
            $floor,
            $ok ? '' : '  TOO SLOW',
        );
    }

    /** @param list<float> $figures */
    private static function median(array $figures): float
    {
        sort($figures);
        $middle = intdiv(count($figures) - 1, 2);

        return count($figures) % 2 === 1 ? $figures[$middle] : ($figures[$middle] + $figures[$middle + 1]) / 2;
    }
}
