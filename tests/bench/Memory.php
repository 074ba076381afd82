<?php

declare(strict_types=1);

namespace Kqueue\Tests;

use App\Jobs\Timed;

/** What apps take with nothing to do, with lanes, asleep, and after a long day; and what it takes to wake one. */
final class Memory extends Bench
{
    /** MB by which the runtime may grow while it runs jobs. */
    private const GROWTH = 1.0;

    /** What fills up at first does so within the quick form's few jobs: the history's pages, the tables of classes. */
    private const QUICK_GROWTH = 6.0;

    /** Seconds after the last job within which a runtime has given memory back. */
    private const QUIET = 12;

    /** MB that may stay of a payload of a hundred. */
    private const REST = 4.0;

    protected function measure(): void
    {
        $this->idle('awake', []);
        $this->idle('awake, where no pooled jobs are run', ['pool-min-idle' => 0]);
        foreach ($this->quick ? [10, 20] : [10, 100] as $lanes) {
            $this->lanes($lanes);
        }
        foreach ($this->quick ? [1, 5] : [1, 50] as $apps) {
            $this->asleep($apps);
        }
        $this->wake();
        $this->steady($this->quick ? 100_000 : 1_000_000);
    }

    /** @param array<string, int> $options */
    private function idle(string $how, array $options): void
    {
        $figures = [];
        foreach ($this->engines() as $name => $engine) {
            $daemon = $this->start($engine, ['idle-after' => 'never'] + $options);
            $this->dispatch(new Timed($marks = $this->file()));
            $this->starts($marks, 1);
            // Until what it keeps warm has booted.
            $warm = 2 + ($options['pool-min-idle'] ?? 2);
            $name === 'kqueue' && Wait::until(static fn (): bool => count($daemon->php()) >= $warm, 'template, lane and pool', 30);
            sleep(self::QUIET);
            $figures[$name] = [Idle::memory($daemon)];
            $daemon->stop(30);
        }
        $this->memory("an idle app, {$how}", $figures, 0.1);
    }

    /** So many processes that have run a job, and whatever else the app has. */
    private function lanes(int $lanes): void
    {
        $figures = [];
        foreach ($this->engines() as $name => $engine) {
            $marks = $this->file();
            $gate = $this->file();
            $daemons = [];
            if ($name === 'stock') {
                for ($i = 0; $i < $lanes; $i++) {
                    $daemons[] = $this->start($engine, ['queue' => "lane-{$i}"]);
                    $this->dispatch(new Timed($marks), "lane-{$i}");
                }
            } else {
                $daemons[] = $this->start($engine, ['max-concurrent-inline' => $lanes, 'pool-min-idle' => 0, 'timeout' => 600, 'idle-after' => 'never']);
                for ($i = 0; $i < $lanes; $i++) {
                    // Each holds its job until all have one.
                    $this->dispatch(new Timed($marks, until: $gate));
                }
            }
            $this->starts($marks, $lanes, 300);
            touch($gate);
            // While they are there: processes without a job leave after some seconds.
            usleep(1_500_000);
            $figures[$name] = [array_sum(array_map(Idle::memory(...), $daemons))];
            $this->stop($daemons);
        }
        $this->memory("{$lanes} processes for jobs", $figures, 2.5);
    }

    /** So many apps that sleep. Their code is the same and their queues are not. */
    private function asleep(int $apps): void
    {
        $figures = [];
        foreach ($this->engines() as $name => $engine) {
            $daemons = [];
            $marks = $this->file();
            for ($i = 0; $i < $apps; $i++) {
                $of = "{$this->sandbox->dir}/app-{$i}";
                $daemons[] = $this->start($engine, ['queue' => "app-{$i}", 'idle-after' => '2s', 'pool-min-idle' => 0, 'state-dir' => "{$of}/state", 'runtime-dir' => "{$of}/run"]);
                $this->dispatch(new Timed($marks), "app-{$i}");
            }
            $this->starts($marks, $apps, 300);
            $name === 'kqueue' && $this->sleep($daemons, 120);
            $figures[$name] = [array_sum(array_map(Idle::memory(...), $daemons))];
            $this->stop($daemons);
        }
        $this->memory($apps === 1 ? 'an app asleep' : "{$apps} apps asleep", $figures, 1);
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
            Wait::until(static fn (): bool => Idle::isAsleep($daemon) && substr_count($daemon->output(), 'asleep until the next job') > $i, 'sleep', 60);
            $made = microtime(true);
            $this->dispatch(new Timed($marks = $this->file()));
            $figures['kqueue'][] = ($this->starts($marks, 1)[0] - $made) * 1000;
            // It is awake, and does not take that job.
            $this->dispatch(new Timed($marks = $this->file()), 'cold');
            $made = microtime(true);
            $once = new Daemon([PHP_BINARY, $this->sandbox->app . '/artisan', 'queue:work', $this->sandbox->driver, '--once', '--queue=cold'], $this->sandbox);
            $figures['stock'][] = ($this->starts($marks, 1)[0] - $made) * 1000;
            $once->wait();
        }
        $daemon->stop();
        $this->row('an app that sleeps (queue:work --once), ms', $figures, '%.0f', $this->ratio($figures['stock'], $figures['kqueue']), 0.3);
    }

    /** What the runtime takes by itself: while it runs so many empty jobs, after a large one, and when it has nothing to do. */
    private function steady(int $jobs): void
    {
        $client = $this->redis->client();
        $client->select(1);
        $key = "{$this->sandbox->prefix}queues:default";
        $queue = $this->laravel['queue']->connection($this->sandbox->driver);
        $payload = (fn (): string => $this->createPayload(new Timed(), 'default', ''))->call($queue);
        $id = json_decode($payload, true)['id'];
        $daemon = $this->start($this->engines()['kqueue'], ['pool-min-idle' => 0, 'idle-after' => '30s']);
        $resident = static fn (): float => self::field($daemon->pid, 'status', 'RssAnon') / 1024;
        $isDone = static fn (): bool => $client->lLen($key) + $client->zCard("{$key}:reserved") === 0;
        $seen = [];
        for ($pushed = 0; $pushed < $jobs;) {
            for ($batch = []; count($batch) < 1000; $pushed++) {
                $batch[] = str_replace($id, sprintf('%032d', $pushed), $payload);
            }
            $client->rPush($key, ...$batch);
            $client->rPush("{$key}:notify", ...array_fill(0, 1000, 1));
            Wait::until(static fn (): bool => $client->lLen($key) < 8000, 'room in the queue', 120);
            $seen[] = $resident();
        }
        Wait::until($isDone, 'the last job', 120);
        // What it has to know of the last jobs it knows by half of them. The least that it took is what is in use.
        $parts = array_chunk($seen, intdiv(count($seen), 4) ?: 1);
        [$before, $after] = [min($parts[2]), min($parts[3])];
        $this->limit(sprintf('growth of the runtime over %s jobs, MB', number_format($jobs)), $after - $before, $this->quick ? self::QUICK_GROWTH : self::GROWTH);
        $client->rPush($key, substr($payload, 0, -1) . ',"pad":"' . str_repeat('x', 100 << 20) . '"}');
        $client->rPush("{$key}:notify", 1);
        Wait::until(static fn (): bool => $resident() > $after + 90, 'the large job to be there', 60, 500);
        Wait::until($isDone, 'its end', 120);
        $kept = 100.0;
        for ($end = hrtime(true); $kept > self::REST && hrtime(true) - $end < 20e9; usleep(20_000)) {
            $kept = max(0.0, $resident() - $after);
        }
        $this->limit('what it keeps of a payload of 100 MB, MB', $kept, self::REST);
        $this->sleep([$daemon], 120);
        printf("%-52s %12s %12.1f\n", 'the runtime asleep after that (PSS), MB', '', Idle::memory($daemon));
        $daemon->stop();
    }

    /**
     * Waits until they sleep, and have had the time in which what is not needed for that is given back.
     *
     * @param list<Daemon> $daemons
     */
    private function sleep(array $daemons, float $seconds): void
    {
        foreach ($daemons as $daemon) {
            Wait::until(static fn (): bool => Idle::isAsleep($daemon), 'sleep', $seconds);
        }
        sleep(self::QUIET);
    }

    /** @param list<Daemon> $daemons */
    private function stop(array $daemons): void
    {
        array_map(static fn (Daemon $daemon) => $daemon->signal(SIGTERM), $daemons);
        array_map(static fn (Daemon $daemon) => $daemon->stop(60), $daemons);
    }

    /** @param array{stock: list<float>, kqueue: list<float>} $figures */
    private function memory(string $what, array $figures, float $floor): void
    {
        $this->row("{$what} (PSS), MB", $figures, '%.0f', $this->ratio($figures['stock'], $figures['kqueue']), $floor);
    }
}
