<?php

/** The server is restarted, is away for a while, is locked or replaced; the clock jumps. */

declare(strict_types=1);

use App\Jobs\Plain;
use App\Jobs\Sleeps;
use Kqueue\Tests\Daemon;
use Kqueue\Tests\DatabaseBackend;
use Kqueue\Tests\Processes;
use Kqueue\Tests\Wait;
use Kqueue\Tests\World;

/** As a process manager: a stock worker that has gone is started again. kqueue must need no such thing. */
$keep = static function (World $w, Daemon $daemon): Daemon {
    if ($daemon->runs()) {
        return $daemon;
    }
    $w->expect(! $w->engine->isKqueue(), 'kqueue is still there');

    return $w->start();
};

row(78, 'the server is restarted between jobs: the next job runs, once', function (World $w) use ($keep): void {
    $w->dispatch(new Plain());
    $daemon = $w->start();
    $w->waitFor('end');
    $w->waitForQueue();
    $w->sandbox->server->shutDown();
    $w->sandbox->server->launch();
    $w->redial();
    $uuid = $w->dispatch(new Plain());
    Wait::until(static function () use ($w, $keep, &$daemon, $uuid): bool {
        $daemon = $keep($w, $daemon);

        return $w->journal('end', $uuid) !== [];
    }, 'the job after the restart', 30.0, 50000);
    $w->waitForQueue();
    $daemon->stop();
    $w->expectAttempts([1], $uuid);
    $w->expectGone();
    $w->expectFailed(0);
    $w->leftToChance('when stock notices that its server has gone, and what it writes of it');
}, drivers: ['redis', 'mariadb', 'pgsql'], ownServer: true);

row(78, 'the server is restarted while a job runs: the job is removed over a new connection, and runs once', function (World $w) use ($keep): void {
    $uuid = $w->dispatch((new Sleeps(1500))->with(['tries' => 3]));
    $daemon = $w->start();
    $w->waitFor('start', uuid: $uuid);
    $w->sandbox->server->shutDown();
    $w->sandbox->server->launch();
    $w->redial();
    $w->expectSame([], $w->journal('end'), 'ends while the server was away');
    $next = $w->dispatch(new Plain());
    Wait::until(static function () use ($w, $keep, &$daemon, $next): bool {
        $daemon = $keep($w, $daemon);

        return $w->journal('end', $next) !== [] && $w->backend->state()->counts() === ['ready' => 0, 'delayed' => 0, 'reserved' => 0, 'broken' => 0];
    }, 'both jobs to be done', 30.0, 50000);
    $daemon->stop();
    $w->expectAttempts([1], $uuid);
    $w->expectAttempts([1], $next);
    $w->expectGone();
    $w->expectFailed(0);
    $w->leftToChance('what is written of the lost connection');
}, drivers: ['redis', 'mariadb', 'pgsql'], ownServer: true);

row(78, 'the SQLite file is locked while a job ends: it is removed as soon as that is possible, and runs once', function (World $w): void {
    $uuid = $w->dispatch((new Sleeps(300))->with(['tries' => 3]));
    $daemon = $w->start();
    $w->waitFor('start', uuid: $uuid);
    $w->waitForQueue(reserved: 1);
    $lock = $w->sandbox->database();
    $lock->exec('begin exclusive');
    $w->waitFor('end', uuid: $uuid);
    // For longer than it takes anybody to try, and shorter than Laravel's patience.
    usleep(1_500_000);
    $w->expectSame(1, (int) $lock->query('select count(*) from jobs')->fetchColumn(), 'rows while the file is locked');
    $lock->exec('rollback');
    $w->waitForQueue();
    $next = $w->dispatch(new Plain());
    $w->waitFor('end', uuid: $next);
    $w->waitForQueue();
    $daemon->stop();
    $w->expectAttempts([1], $uuid);
    $w->expectSame([], $w->journal('report'), 'reported exceptions');
    $w->expectGone();
    $w->expectFailed(0);
}, drivers: ['sqlite']);

row(78, 'the SQLite file is replaced between jobs', function (World $w): void {
    $w->dispatch(new Plain());
    $daemon = $w->start();
    $w->waitFor('end');
    $w->waitForQueue();
    // As a restored backup or a deploy does it.
    $file = $w->sandbox->app . '/database/database.sqlite';
    copy($file, "{$file}.new");
    rename("{$file}.new", $file);
    $w->laravel['db']->reconnect();
    $w->backend = new DatabaseBackend($w->sandbox);
    $uuid = $w->dispatch(new Plain());
    $w->differs(
        'stock goes on with the file that is gone until it is restarted; kqueue notices',
        stock: function () use ($w, $daemon, $uuid): void {
            for ($end = hrtime(true) + 1e9; hrtime(true) < $end; usleep(20000)) {
                $w->expectSame([], $w->journal('start', $uuid), 'runs of the new job');
            }
            $daemon->stop();
            $w->work();
        },
        kqueue: function () use ($w, $daemon, $uuid): void {
            $w->waitFor('end', uuid: $uuid);
            $w->waitForQueue();
            $daemon->stop();
        },
    );
    $w->expectAttempts([1], $uuid);
    $w->expectGone();
}, drivers: ['sqlite']);

row(79, 'the server is away for some seconds: no job is lost, no processor is kept busy, and all goes on by itself', function (World $w) use ($keep): void {
    $running = $w->dispatch((new Sleeps(1500))->with(['tries' => 3]));
    $daemon = $w->start();
    $w->waitFor('start', uuid: $running);
    $waiting = $w->dispatchMany((new Sleeps(300))->with(['tries' => 3]), 10);
    $w->sandbox->server->shutDown();
    $used = static fn (): float => array_sum(array_map([Processes::class, 'cpuSeconds'], [$daemon->pid, ...$daemon->php()]));
    // What runs ends while the server is away.
    $w->waitFor('end', uuid: $running);
    [$before, $since] = [$used(), hrtime(true)];
    while (hrtime(true) - $since < 5e9) {
        usleep(100_000);
    }
    if ($w->engine->isKqueue()) {
        $share = ($used() - $before) / ((hrtime(true) - $since) / 1e9);
        $w->expect($share < 0.2, sprintf('it waits instead of spinning (%.0f %% of a processor)', 100 * $share));
        $w->expectSame(1, substr_count($daemon->output(), 'the queue does not answer'), 'lines about it in the log');
    }
    $w->sandbox->server->launch();
    $w->redial();
    Wait::until(static function () use ($w, $keep, &$daemon, $waiting): bool {
        $daemon = $keep($w, $daemon);

        return array_diff($waiting, array_column($w->journal('end'), 'uuid')) === [];
    }, 'the jobs that waited', 40.0, 50000);
    $w->differs(
        'stock cannot remove the job that ended meanwhile, and runs it again after retry_after; kqueue removes it when the server is back',
        stock: function () use ($w, $running): void {
            $w->waitForQueue(reserved: 1);
            $w->expireLeases();
            $w->waitFor('end', 2, uuid: $running);
            $w->waitForQueue();
            $w->expectAttempts([1, 2], $running);
        },
        kqueue: function () use ($w, &$daemon, $running, $waiting): void {
            $w->waitForQueue();
            $w->expectOnce([$running, ...$waiting]);
            Wait::until(static fn (): bool => str_contains($daemon->output(), 'the queue answers again'), 'kqueue to say so');
        },
    );
    $daemon->stop();
    $w->expectGone();
    $w->expectFailed(0);
    $w->leftToChance('what is written of the lost connection');
}, drivers: ['redis', 'mariadb', 'pgsql'], ownServer: true, tiers: false);

row(79, 'the SQLite file is away for a while: kqueue says so once, tries again, and goes on', function (World $w): void {
    $daemon = $w->start();
    $w->waitFor('end', uuid: $w->dispatch(new Plain()));
    $w->waitForQueue();
    $file = $w->sandbox->app . '/database/database.sqlite';
    rename($file, "{$file}.away");
    Wait::until(static fn (): bool => str_contains($daemon->output(), 'the queue does not answer'), 'kqueue to notice');
    rename("{$file}.away", $file);
    $uuid = $w->dispatch(new Plain());
    $w->waitFor('end', uuid: $uuid);
    $w->waitForQueue();
    $daemon->stop();
    $w->expectContains('the queue answers again', $daemon->output(), 'the log');
    $w->expectAttempts([1], $uuid);
    $w->expectGone();
    $w->expectFailed(0);
}, drivers: ['sqlite'], engines: ['kqueue']);

/** A clock of the engine's own, which jumps while a job runs. */
$jump = static function (World $w, int $seconds): void {
    $clock = $w->sandbox->dir . '/clock';
    file_put_contents($clock, '+0');
    $env = [
        'LD_PRELOAD' => 'libfaketimeMT.so.1',
        'LD_LIBRARY_PATH' => dirname(glob('/usr/lib/*/faketime/libfaketimeMT.so.1')[0]),
        'FAKETIME_TIMESTAMP_FILE' => $clock,
        'FAKETIME_NO_CACHE' => '1',
        'FAKETIME_DONT_FAKE_MONOTONIC' => '1',
    ];
    $uuid = $w->dispatch((new Sleeps(10_000))->with(['tries' => 0]));
    $w->start(env: $env);
    $w->waitFor('start', uuid: $uuid);
    $since = hrtime(true);
    // Someone else on the same queue, who would take a job whose lease is over.
    $w->start(['state-dir' => $w->sandbox->dir . '/state2', 'runtime-dir' => $w->sandbox->dir . '/run2'], $env);
    $w->waitFor('end', uuid: $w->dispatch(new Plain()));
    // More than half of the lease is over; a renewal was due after a third of it.
    while (hrtime(true) - $since < 6.5e9) {
        usleep(20_000);
    }
    $w->expectSame([], $w->journal('end', $uuid), 'ends before the jump');
    file_put_contents("{$clock}.new", sprintf('%+d', $seconds));
    rename("{$clock}.new", $clock);
    $w->waitFor('end', uuid: $uuid);
    $w->leftToChance('who is first at a lease that is over');
    $kept = function () use ($w, $uuid): void {
        $w->waitForQueue();
        $w->expectAttempts([1], $uuid);
        $w->expectGone();
    };
    $seconds < 0 ? $kept() : $w->differs(
        'a clock that is ahead ends stock\'s leases before their time; kqueue renews them, so more than that is left of each',
        stock: fn () => $w->waitFor('start', 2, uuid: $uuid),
        kqueue: $kept,
    );
    $w->expectFailed(0);
};
$faketime = glob('/usr/lib/*/faketime/libfaketimeMT.so.1') === [] ? 'needs libfaketime' : null;
$env = ['QUEUE_RETRY_AFTER' => 12];
row(88, 'the clock steps forward by half a lease while a job runs: it is not taken once more', fn (World $w) => $jump($w, 6), env: $env, later: $faketime, back: ['renew' => 'false'], tiers: false);
row(88, 'the clock steps back by half a lease while a job runs: it is not taken once more, and ends', fn (World $w) => $jump($w, -6), env: $env, later: $faketime, tiers: false);
