<?php

declare(strict_types=1);

namespace Kqueue\Tests;

use App\Jobs\Timed;
use Illuminate\Foundation\Application;
use RuntimeException;
use Throwable;

/** The benchmarks. Each gives its figures for both engines, measured in turn. */
class Bench
{
    /** Milliseconds of processor time in a second that a server may use by itself, for all that can be told apart. */
    private const NOTHING = 0.5;

    protected RedisServer $redis;

    protected Server $server;

    protected Sandbox $sandbox;

    protected Application $laravel;

    private int $passed = 0;

    private int $failed = 0;

    public function __construct(private readonly string $kqueue, protected readonly bool $quick, private readonly string $driver)
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
            $this->measure();
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

    protected function measure(): void
    {
        $this->throughput();
        $this->latency();
        in_array($this->driver, ['redis', 'sqs'], true) || $this->idleLoad();
        $this->driver === 'redis' && $this->isolatedStart();
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

    protected static function field(int $pid, string $file, string $name): int
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
    protected function engines(): array
    {
        return ['stock' => new Engine('stock', ''), 'kqueue' => new Engine('kqueue', $this->kqueue)];
    }

    /** @param array<string, string|int|true> $options */
    protected function start(Engine $engine, array $options): Daemon
    {
        $command = $engine->command($this->sandbox, $options);

        // As it comes: the suite lets stock look for jobs far more often than its users do.
        return new Daemon(array_values(array_diff($command, ['--sleep=0.02', '--pool-min-idle=1'])), $this->sandbox, self::environment());
    }

    /** What the unit of a runtime sets. @return array<string, string> */
    private static function environment(): array
    {
        preg_match('/^Environment=(.*)$/m', (string) file_get_contents(dirname(__DIR__, 2) . '/units/kqueue@.service'), $found);
        parse_str(strtr($found[1] ?? '', ' ', '&'), $variables);

        return $variables;
    }

    protected function dispatch(object $job, ?string $queue = null): void
    {
        $this->laravel['queue']->connection($this->sandbox->driver)->push($job, '', $queue);
    }

    protected function file(): string
    {
        static $count = 0;

        return $this->sandbox->dir . '/marks-' . ++$count;
    }

    /** @return list<float> when jobs started, once as many have as are expected */
    protected function starts(string $file, int $count, float $seconds = 120): array
    {
        $until = microtime(true) + $seconds;
        while (count($lines = @file($file) ?: []) < $count) {
            microtime(true) < $until || throw new RuntimeException("{$count} jobs did not start");
            usleep(200);
        }

        return array_map(static fn (string $line): float => (float) explode(' ', $line)[1], $lines);
    }

    /** @param list<float> $of @param list<float> $to */
    protected function ratio(array $of, array $to): float
    {
        return self::median($of) / max(self::median($to), 1e-9);
    }

    /** @param array{stock: list<float>, kqueue: list<float>} $figures */
    protected function row(string $what, array $figures, string $format, float $ratio, float $floor): void
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

    /** A figure of kqueue's alone, which has a limit. */
    protected function limit(string $what, float $figure, float $most): void
    {
        $ok = $figure <= $most;
        $ok ? $this->passed++ : $this->failed++;
        printf("%-52s %12s %12.1f %9s %7.1f%s\n", $what, '', $figure, 'at most', $most, $ok ? '' : '   TOO MUCH');
    }

    /** @param list<float> $figures */
    private static function median(array $figures): float
    {
        sort($figures);
        $middle = intdiv(count($figures) - 1, 2);

        return count($figures) % 2 === 1 ? $figures[$middle] : ($figures[$middle] + $figures[$middle + 1]) / 2;
    }
}
