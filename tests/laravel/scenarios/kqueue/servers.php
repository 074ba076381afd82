<?php

/** What befalls a server while several runtimes and stock workers share its queue: it restarts, is killed, or hangs. */

declare(strict_types=1);

use App\Jobs\Plain;
use App\Jobs\Sleeps;
use App\Jobs\Timed;
use App\Jobs\Waits;
use Kqueue\Tests\Daemon;
use Kqueue\Tests\Processes;
use Kqueue\Tests\Wait;
use Kqueue\Tests\World;

/** @param callable(World, list<Daemon>): void $outage what happens to the server after the first few thousand jobs */
$share = static function (World $w, callable $outage): void {
    $runtimes = array_map(static fn (string $host): Daemon => $w->start([
        'state-dir' => "{$w->sandbox->dir}/{$host}/state",
        'runtime-dir' => "{$w->sandbox->dir}/{$host}/run",
    ]), ['one', 'two']);
    $uuids = $w->dispatchMany((new Plain())->with(['tries' => 5]), 10000);
    $stock = [$w->startStock(), $w->startStock()];
    $pids = array_column($stock, 'pid');
    Wait::until(static fn (): bool => $w->size() <= 7000, 'a part of the jobs to be done', 90.0, 20000);
    $outage($w, $runtimes);
    $w->redial();
    $runs = static fn (): array => array_count_values(array_column($w->journal('end'), 'uuid'));
    Wait::until(static function () use ($w, $runs, $uuids, &$stock, &$pids): bool {
        // Their process manager's part.
        foreach ($stock as $i => $worker) {
            $worker->runs() || $pids[] = ($stock[$i] = $w->startStock())->pid;
        }

        return count($runs()) === count($uuids);
    }, 'every job to have run', 120.0, 100_000);
    foreach ([...$runtimes, ...$stock] as $daemon) {
        $daemon->stop(30.0);
    }
    foreach ($runtimes as $runtime) {
        $w->expect(substr_count($runtime->output(), 'the queue does not answer') <= 1, 'the outage is logged once');
    }
    // What a stock worker had done when the server went away it could not remove, so that runs again when its lease ends.
    $first = array_column(array_reverse($w->journal('start')), 'pid', 'uuid');
    foreach ($runs() as $uuid => $times) {
        $w->expect($times === 1 || in_array($first[$uuid], $pids, true), "{$uuid} ran {$times} times");
    }
    $w->expect(array_diff($first, $pids) !== [] && array_intersect($first, $pids) !== [], 'both kinds had their part');
    $w->expectFailed(0);
};

row('hosts', 'two runtimes and two stock workers share 10,000 jobs while the server restarts: each runs once', fn (World $w) => $share($w, static function (World $w): void {
    $w->sandbox->server->shutDown();
    $w->sandbox->server->launch();
}), drivers: ['redis', 'mariadb', 'pgsql'], engines: ['kqueue'], env: ['RECORD' => 'false'], ownServer: true, tiers: false);

row('hosts', 'two runtimes and two stock workers share 10,000 jobs while the server is killed and recovers: each runs once', fn (World $w) => $share($w, static function (World $w): void {
    $w->sandbox->server->stop();
    $w->sandbox->server->launch();
}), drivers: ['mariadb', 'pgsql'], engines: ['kqueue'], env: ['RECORD' => 'false'], ownServer: true, tiers: false);

row('failover', 'two runtimes and two stock workers share 10,000 jobs while the server turns into a replica, dies, and its replica takes its place: each runs once', function (World $w) use ($share): void {
    $w->sandbox->server->replicate();
    $w->redial();
    $share($w, static function (World $w, array $runtimes): void {
        $w->sandbox->server->refuseWrites();
        foreach ($runtimes as $runtime) {
            Wait::until(static fn (): bool => str_contains($runtime->output(), 'the queue does not answer'), 'a word about it', 30.0);
        }
        $w->sandbox->server->failOver();
    });
}, drivers: ['mariadb', 'pgsql'], engines: ['kqueue'], env: ['RECORD' => 'false'], ownServer: true, tiers: false);

row('full', 'the server has no room left on its disk: kqueue waits for it, and every job that it took on runs once', function (World $w): void {
    $disk = $w->sandbox->server->confine(256);
    $w->redial();
    $daemon = $w->start();
    $uuids = [$w->dispatch((new Plain())->with(['tries' => 3]))];
    $w->waitFor('end');
    $running = $w->dispatch((new Sleeps(1500))->with(['tries' => 3]));
    $w->waitFor('start', uuid: $running);
    $disk->fill();
    // Until it takes nothing more, each with a payload that wants room.
    Wait::until(static function () use ($w, &$uuids): bool {
        try {
            $uuids[] = $w->dispatch((new Plain())->with(['tries' => 3, 'tag' => str_repeat('x', 100_000)]));

            return false;
        } catch (\Throwable) {
            return true;
        }
    }, 'a server that takes nothing more', 60.0, 1000);
    $w->waitFor('end', uuid: $running);
    $w->expect($daemon->runs(), 'kqueue is still there');
    $disk->free();
    $w->sandbox->server->runs() || $w->sandbox->server->launch();
    Wait::until(static function () use ($w, &$uuids): bool {
        try {
            $w->redial();
            $uuids[] = $w->dispatch((new Plain())->with(['tries' => 3]));

            return true;
        } catch (\Throwable) {
            return false;
        }
    }, 'a server that takes jobs again', 60.0, 100_000);
    $w->waitForQueue(seconds: 60.0);
    $daemon->stop();
    // What was refused may have been written all the same.
    $w->expectOnce([$running, ...$uuids]);
    $w->expect(substr_count($daemon->output(), 'the queue does not answer') <= 2, 'the outage is logged once, or once more where the server restarts');
    $w->expectGone();
    $w->expectFailed(0);
}, drivers: ['redis', 'mariadb', 'pgsql'], engines: ['kqueue'], ownServer: true, tiers: false, env: ['RECORD' => 'false']);

row('hosts', 'a limit that two runtimes share: no more run at once than it lets in both together, others are not held up, one that is killed leaves its places, and while nobody keeps it none starts', function (World $w): void {
    file_put_contents($file = $w->sandbox->dir . '/shared.toml', "[class.\"App\\\\Jobs\\\\Waits\"]\nmax_concurrent = 2\nshared = true\n");
    $start = static fn (string $host): Daemon => $w->start([
        'config' => $file,
        'state-dir' => "{$w->sandbox->dir}/{$host}/state",
        'runtime-dir' => "{$w->sandbox->dir}/{$host}/run",
    ]);
    $files = [];
    $dispatch = static function (int $count) use ($w, &$files): void {
        foreach (range(1, $count) as $i) {
            $go = $w->sandbox->dir . '/go' . count($files);
            $files[$w->dispatch(new Waits($go, $i % 2 ? 'inline' : 'isolated'))] = $go;
        }
    };
    $running = static function () use ($w, &$files): array {
        $ended = array_column($w->journal('end'), 'uuid');

        return array_values(array_diff(array_intersect(array_column($w->journal('start'), 'uuid'), array_keys($files)), $ended));
    };
    $othersFlow = static function () use ($w): void {
        $uuids = $w->dispatchMany(new Plain(), 7);
        Wait::until(static fn (): bool => array_diff($uuids, array_column($w->journal('end'), 'uuid')) === [], 'others to end');
    };
    $dispatch(1);
    $hosts = [$start('one'), $start('two')];
    if ($w->isInDatabase()) {
        // There is no table for it yet.
        $othersFlow();
        Wait::until(static fn (): bool => str_contains($hosts[0]->output() . $hosts[1]->output(), 'CREATE TABLE'), 'somebody to say what is lacking');
        $w->expectSame([], $running(), 'jobs that run without anybody who keeps their limit');
        preg_match('/CREATE TABLE .*NULL\)/', $hosts[0]->output() . $hosts[1]->output(), $create);
        $w->laravel['db']->connection()->statement($create[0]);
    }
    $dispatch(7);
    for ($ended = 0; $ended < 5; $ended++) {
        $runs = Wait::until(static fn (): ?array => count($found = $running()) >= 2 ? $found : null, 'two to run');
        $othersFlow();
        $w->expectSame(2, count($running()), 'jobs that run at once in both together');
        touch($files[$runs[0]]);
        $w->waitFor('end', uuid: $runs[0]);
    }
    array_map('touch', $files);
    $w->waitForQueue(seconds: 30.0);
    // One of them goes with what it has, and the other one takes its places when it has not been heard of for long enough.
    $hosts[1]->stop();
    $dispatch(3);
    Wait::until(static fn (): bool => count($running()) === 2, 'two to run');
    $w->killEngine($hosts[0]);
    $before = $running();
    $left = array_values(array_diff(array_keys($files), array_column($w->journal('end'), 'uuid')));
    $w->expectSame(3, count($left), 'jobs that are left');
    $hosts[2] = $start('three');
    $dispatch(2);
    Wait::until(static fn (): bool => count(array_diff($running(), $before)) === 2, 'two to run elsewhere', 60.0);
    array_map('touch', $files);
    $w->expectSame(0, $hosts[2]->stop(30.0), 'exit status');
    foreach ($hosts as $host) {
        $w->expect(substr_count($host->output(), 'limits shared between hosts are unavailable') <= 1, 'it is logged once');
    }
}, drivers: ['redis', 'sqlite', 'mariadb', 'pgsql'], engines: ['kqueue'], tiers: false);

row('index', 'kqueue check and tune print the migration for a long table without a good index, and nothing once it has one', function (World $w): void {
    $found = static function () use ($w): array {
        exec(implode(' ', array_map('escapeshellarg', [getenv('KQUEUE_BIN'), 'check', '--json', '--path', $w->sandbox->app, ...(posix_geteuid() === 0 ? ['--as-root'] : [])])), $lines);

        return array_column(json_decode(implode("\n", $lines), true)[0]['findings'] ?? [], null, 'check');
    };
    $w->dispatch(new Plain());
    $w->expect(! isset($found()['indexes']), 'a short table is well as it is');
    $table = $w->laravel['db']->connection()->table('jobs');
    $row = ['queue' => 'default', 'payload' => '{}', 'attempts' => 0, 'reserved_at' => null, 'available_at' => time() + 86400, 'created_at' => time()];
    foreach (range(1, 11) as $round) {
        $table->insert(array_fill(0, 1000, $row));
    }
    $advice = $found()['indexes'] ?? [];
    $w->expectSame('note', $advice['severity'] ?? '', 'how bad that is');
    $w->expect(preg_match('/Schema::table\(.*\);/', $advice['fix'] ?? '', $code) === 1, 'the code of a migration: ' . ($advice['fix'] ?? ''));
    $w->start();
    $w->waitForStatus('running');
    $tuned = static function () use ($w): array {
        [$told] = $w->kqueue('tune', ...(posix_geteuid() === 0 ? ['--as-root'] : []));
        $w->expectSame([], $told['lacks'] ?? $told['state'], 'what tune could not ask');

        return array_column($told['advice'], 'line');
    };
    $w->expectSame([$code[0]], $tuned(), 'what tune advises');
    // As it stands there.
    Illuminate\Support\Facades\Facade::setFacadeApplication($w->laravel);
    eval('use Illuminate\Support\Facades\Schema; ' . $code[0]);
    $w->expect(! isset($found()['indexes']), 'what it advises is enough');
    $w->expectSame([], $tuned(), 'what tune advises then');
}, drivers: ['mariadb', 'pgsql'], engines: ['kqueue'], tiers: false, since: '11');

row('million', 'behind 20,000 jobs that are delayed and 20,000 that wait (a million each with full) jobs are reserved about as fast as with none', function (World $w): void {
    $rows = getenv('KQUEUE_TEST_FULL') !== false ? 1_000_000 : 20_000;
    // A long table is looked through once, before these.
    [$first, $jobs] = [1_000, 3_000];
    $marks = "{$w->sandbox->dir}/marks";
    $w->dispatch(new Timed($marks), 'parked');
    [$parked] = $w->queued('parked');
    $fill = static function (int $rows, int $at) use ($w, $parked): void {
        $now = time();
        ['uuid' => $uuid, 'id' => $id] = json_decode($parked['payload'], true) + ['id' => null];
        if (! $w->isInDatabase()) {
            $client = $w->sandbox->server->client();
            $client->select(1);
            $key = $w->sandbox->prefix . 'queues:default';
            for ($i = 0; $i < $rows; $i += 1000) {
                $payloads = array_map(static fn (int $n): string => str_replace([$uuid, $id], [sprintf('00000000-0000-4000-8000-%012d', $n), sprintf('%032d', $n)], $parked['payload']), range($i, $i + 999));
                $at > $now ? $client->zAdd("{$key}:delayed", ...array_merge(...array_map(static fn (string $payload): array => [$at, $payload], $payloads))) : $client->rPush($key, ...$payloads);
            }

            return;
        }
        [$number, $from] = match ($w->sandbox->service->name) {
            'sqlite' => ["printf('%012d', value)", "(with recursive n(value) as (select 1 union all select value + 1 from n where value < {$rows}) select value from n)"],
            'mariadb' => ["lpad(seq, 12, '0')", "seq_1_to_{$rows}"],
            'pgsql' => ["lpad(i::text, 12, '0')", "generate_series(1, {$rows}) as n(i)"],
        };
        $own = $w->sandbox->service->name === 'mariadb' ? "concat('00000000-0000-4000-8000-', {$number})" : "'00000000-0000-4000-8000-' || {$number}";
        $w->laravel['db']->connection()->statement(
            "insert into jobs (queue, payload, attempts, reserved_at, available_at, created_at) select 'default', replace(?, ?, {$own}), 0, null, {$at}, {$now} from {$from}",
            [$parked['payload'], $uuid],
        );
    };
    $took = static function () use ($w, $first, $jobs, $marks): float {
        file_put_contents($marks, '');
        $daemon = $w->start(['pool-size' => 1]);
        Wait::until(static fn (): bool => substr_count((string) file_get_contents($marks), "\n") >= $jobs, "{$jobs} jobs", 120.0, 50_000);
        $w->expectSame(0, $daemon->stop(30.0), 'exit status');
        $starts = array_map(static fn (string $line): float => (float) explode(' ', $line)[1], file($marks));
        sort($starts);

        return $starts[$jobs - 1] - $starts[$first];
    };
    $fill($jobs, time());
    $alone = $took();
    // The delayed ones are first, where there is an order.
    $fill($rows, time() + 86_400);
    $fill($rows, time());
    $behind = $took();
    $w->expect($behind < 4 * $alone, sprintf('%d jobs took %.2f s behind many, and %.2f s alone', $jobs - $first, $behind, $alone));
    $w->expectSame(2 * $rows, $w->size() + count(file($marks)), 'jobs that are left, and that have run');
    $w->expectFailed(0);
}, drivers: ['redis', 'sqlite', 'mariadb', 'pgsql'], engines: ['kqueue'], env: ['RECORD' => 'false'], ownServer: true, tiers: false);

row('hangs', 'the server hangs for 20 s: it is logged once, nothing spins, and every job runs once', function (World $w): void {
    $running = $w->dispatch((new Sleeps(1500))->with(['tries' => 3]));
    $daemon = $w->start();
    $w->waitFor('start', uuid: $running);
    $waiting = $w->dispatchMany((new Plain())->with(['tries' => 3]), 10);
    $late = $w->dispatch((new Sleeps(500))->with(['tries' => 3]));
    $used = static fn (): float => array_sum(array_map([Processes::class, 'cpuSeconds'], [$daemon->pid, ...$daemon->php()]));
    $w->sandbox->server->pause();
    $w->waitFor('end', uuid: $running);
    [$before, $since] = [$used(), hrtime(true)];
    // That long is the outage.
    usleep(18_500_000);
    $share = ($used() - $before) / ((hrtime(true) - $since) / 1e9);
    $w->sandbox->server->resume();
    $w->expect($share < 0.2, sprintf('nothing spins (%.0f %% of a processor)', 100 * $share));
    $w->waitFor('end', 12, 60.0);
    $w->waitForQueue(seconds: 30.0);
    $daemon->stop();
    $w->expectOnce([$running, ...$waiting, $late]);
    $w->expectSame(1, substr_count($daemon->output(), 'the queue does not answer'), 'lines about it in the log');
    $w->expectGone();
    $w->expectFailed(0);
}, drivers: ['redis', 'mariadb', 'pgsql'], engines: ['kqueue'], ownServer: true, tiers: false);
