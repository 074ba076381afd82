<?php

/** Mixed fleets: stock workers and kqueue on one queue, and one of them goes half-way. Under stock both are stock. */

declare(strict_types=1);

use App\Jobs\Plain;
use Kqueue\Tests\Wait;
use Kqueue\Tests\World;

/** @param bool $stockGoes which of the two goes */
$fleet = static function (World $w, bool $stockGoes): void {
    // A stock worker that meets a lock of SQLite's sleeps for a second, so there a few hundred have to do. And as an
    // oracle of its own, slow as it is, it shows as much with fewer jobs.
    $sqlite = $w->isInDatabase();
    $jobs = $sqlite ? 200 : ($w->engine->isKqueue() ? 10000 : 2000);
    $w->leftToChance('who runs which job');
    $stock = $w->startStock();
    $w->waitFor('end', uuid: $uuids[] = $w->dispatch(new Plain()));
    $engine = $w->start();
    // Both are there when the crowd comes.
    while (array_diff(array_column($w->journal('end'), 'pid'), [$stock->pid]) === []) {
        $w->waitFor('end', uuid: $uuids[] = $w->dispatch(new Plain()));
    }
    array_push($uuids, ...$w->dispatchMany(new Plain(), $jobs));
    Wait::until(fn (): bool => $w->size() <= $jobs / 2, 'half of the jobs to be done', 60.0, 20000);
    [$goes, $stays] = $stockGoes ? [$stock, $engine] : [$engine, $stock];
    $w->expectSame(0, $goes->stop(30.0), 'exit status of the one that goes');
    // Stock takes long for thousands of jobs: several workers of it share the rest.
    $fleet = $stockGoes || $sqlite ? [] : array_map(static fn () => $w->startStock(), range(1, 3));
    // Whatever the other one has done meanwhile, this is left to it alone.
    array_push($uuids, ...$w->dispatchMany(new Plain(), 100));
    $w->expect(count($uuids) > $jobs + 100, 'all jobs are known');
    // A job that stock could not remove stays on the queue.
    $done = fn (): bool => $sqlite ? count(array_unique(array_column($w->journal('end'), 'uuid'))) === count($uuids) : $w->size() === 0;
    Wait::until($done, 'the rest to be done', 80.0, 20000);
    foreach ([$stays, ...$fleet] as $daemon) {
        $w->expectSame(0, $daemon->stop(30.0), 'exit status of the one that stays');
    }
    $w->expectOnce($uuids);

    $ranBy = array_column($w->journal('start'), 'pid', 'uuid');
    $byStock = count(array_keys($ranBy, $stock->pid, true));
    $w->expect($byStock > 0 && $byStock < count($uuids), "both had their part (stock: {$byStock})");
    if (! $sqlite || $w->laravelIs('12.26')) {
        $w->expectGone();
        $w->expectFailed(0);

        return;
    }
    // Before `transaction_mode` could be set, stock reads before it writes, so SQLite may refuse it the removal of a job
    // that is done: that one is failed, or stays reserved, by stock's own fault. No job that kqueue ran is among them.
    $stuck = [];
    foreach ($w->failed() as $row) {
        $w->expectContains('database is locked', $row['exception'], 'exception of a failed job');
        $stuck[] = $row['uuid'];
    }
    foreach ($w->backend->state()->reserved as $job) {
        $stuck[] = json_decode($job['payload'], true)['uuid'];
    }
    foreach ($w->engine->isKqueue() ? $stuck : [] as $uuid) {
        $w->expectSame($stock->pid, $ranBy[$uuid], "who ran {$uuid}, which is not gone");
    }
};

/** Two hosts and two stock workers on one cluster, whose masters are told to give way or die in the middle. */
$failover = static function (World $w, bool $dies): void {
    $w->leftToChance('who runs which job, and what is on its way when the master goes');
    $jobs = $w->engine->isKqueue() ? 10000 : 2000;
    $uuids = $w->dispatchMany(new Plain(), $jobs);
    $daemons = [];
    foreach (range(1, 2) as $host) {
        $daemons[] = $w->startStock();
        $daemons[] = $w->start(['state-dir' => "{$w->sandbox->dir}/state{$host}", 'runtime-dir' => "{$w->sandbox->dir}/run{$host}"]);
    }
    Wait::until(fn (): bool => $w->size() <= $jobs / 2, 'half of the jobs to be done', 120.0, 20000);
    $key = $w->sandbox->prefix . 'queues:' . ($w->laravelIs('13.5') ? '{default}' : 'default');
    $w->sandbox->server->failOver($key, $dies);
    $w->redial();
    // A stock worker that has lost its server ends, and a process manager starts it again.
    Wait::until(static function () use ($w, &$daemons): bool {
        foreach ($daemons as $index => $daemon) {
            if (! $daemon->runs()) {
                $w->expectSame(true, $index % 2 === 0 || ! $w->engine->isKqueue(), 'kqueue is still there');
                $daemons[$index] = $w->startStock();
            }
        }
        try {
            $counts = $w->backend->state()->counts();
        } catch (RedisClusterException) {
            // A client that still knows the old master.
            $w->redial();

            return false;
        }

        return $counts['ready'] + $counts['delayed'] === 0;
    }, 'the rest to be done', 120.0, 50000);
    foreach ($daemons as $daemon) {
        $daemon->stop(30.0);
    }
    // What a dying master reserved for somebody who never heard of it comes back when its lease is over.
    $w->backend->expireLeases();
    $w->work();
    $ends = array_count_values(array_column($w->journal('end'), 'uuid'));
    $lost = array_diff($uuids, array_keys($ends));
    $again = array_filter($ends, static fn (int $times): bool => $times > 1);
    // All were on the replica by then. What it had not heard was removed may come again.
    $w->expectSame([], $lost, 'jobs that never ran');
    $w->expect(count($again) <= ($dies ? 20 : 0), count($again) . ' jobs ran more than once');
};
row(58, 'two hosts and two stock workers on one Redis Cluster, 10,000 jobs, the master gives way in the middle: each exactly once', fn (World $w) => $failover($w, false), drivers: ['cluster'], env: ['RECORD' => 'false', 'QUEUE_RETRY_AFTER' => 300], ownServer: true, tiers: false);
row(58, 'two hosts and two stock workers on one Redis Cluster, 10,000 jobs, the master is killed in the middle: none is lost', fn (World $w) => $failover($w, true), drivers: ['cluster'], env: ['RECORD' => 'false', 'QUEUE_RETRY_AFTER' => 300], ownServer: true, tiers: false);

$title = 'beside a stock worker, 10,000 jobs (200 on SQLite), each exactly once';
$env = ['RECORD' => 'false', 'DB_TRANSACTION_MODE' => 'IMMEDIATE'];
row(58, "{$title}; the engine goes half-way, stock finishes", fn (World $w) => $fleet($w, false), env: $env, tiers: false);
row(58, "{$title}; stock goes half-way, the engine finishes", fn (World $w) => $fleet($w, true), env: $env, tiers: false);
