<?php

/**
 * The engine itself ends while jobs run, by force and by request. With the process launcher, as here, its PHP processes
 * are its children and end with it. Under systemd they live on: that is shown by the rows of tests/machine named in
 * the titles.
 */

declare(strict_types=1);

use App\Jobs\Heavy;
use App\Jobs\Plain;
use App\Jobs\Pooled;
use App\Jobs\Quick;
use App\Jobs\Sleeps;
use Kqueue\Tests\Processes;
use Kqueue\Tests\Wait;
use Kqueue\Tests\World;

row(54, 'the engine is killed with a job running: not run again before its lease is over, and then once (under systemd it runs on: kill-runtime)', function (World $w): void {
    $uuid = $w->dispatch((new Sleeps(1000))->with(['tries' => 3]));
    $daemon = $w->start();
    $w->waitFor('start', uuid: $uuid);
    $w->killEngine($daemon);
    $w->expectSame([], $w->journal('end'), 'ends');
    $w->expectQueue(reserved: 1, attempts: 1);
    // The next one finds what is new, and leaves alone what is held.
    $next = $w->dispatch(new Plain());
    $w->work();
    $w->expectAttempts([1], $next);
    $w->expectAttempts([1], $uuid);
    $w->expectQueue(reserved: 1, attempts: 1);
    $w->expireLeases();
    $w->work();
    $w->expectAttempts([1, 2], $uuid);
    $w->expectSame(1, count($w->journal('end', $uuid)), 'ends');
    $w->expectGone();
    $w->expectFailed(0);
});

row(54, 'kqueue is killed with a job running in each tier: each runs again once its lease is over, and ends once', function (World $w): void {
    $uuids = array_map(static fn (object $job): string => $w->dispatch($job->with(['tries' => 2])), [new Quick(4000), new Pooled(4000), new Heavy(4000)]);
    $daemon = $w->start();
    $w->waitFor('start', 3);
    $w->killEngine($daemon);
    $w->expectQueue(reserved: 3);
    $w->expireLeases();
    $w->work();
    foreach ($uuids as $uuid) {
        $w->expectAttempts([1, 2], $uuid);
        $w->expectSame([2], array_column($w->journal('end', $uuid), 'attempts'), 'ends');
    }
    $w->expectGone();
    $w->expectFailed(0);
}, engines: ['kqueue'], tiers: false);

row(55, 'restarted while a job runs: that one finishes first, the next engine takes what is left (under systemd it runs on: restart)', function (World $w): void {
    $uuid = $w->dispatch(new Sleeps(700));
    $daemon = $w->start();
    $old = $w->waitFor('start', uuid: $uuid)[0]['pid'];
    $daemon->signal(SIGTERM);
    $next = $w->dispatch(new Plain());
    $w->expectSame(0, $daemon->wait(), 'exit status');
    $w->expectSame(1, count($w->journal('end', $uuid)), 'ends');
    $w->expectSame([], Processes::of($w->sandbox->dir), 'processes left behind');
    $w->work();
    $w->expectAttempts([1], $uuid);
    $w->expectAttempts([1], $next);
    $w->expect($w->journal('start', $next)[0]['pid'] !== $old, 'another PHP process runs the next job');
    $w->expectGone();
    $w->expectFailed(0);
});

row(55, 'restarted five times under load: each job once, no attempt counted for what only waited', function (World $w): void {
    // SQLite lets one process write at a time: fewer jobs make the same point.
    $jobs = $w->sandbox->driver === 'redis' ? 300 : 150;
    $uuids = [];
    for ($i = 0; $i < $jobs; $i++) {
        $uuids[] = $w->dispatch((new Sleeps(10))->with(['tries' => 1]));
    }
    for ($restarts = 0; $restarts < 5; $restarts++) {
        $daemon = $w->start();
        $done = count($w->journal('end'));
        // Each has done its part before it goes.
        Wait::until(static fn (): bool => count($w->journal('end')) >= min($done + 5, $jobs), 'a few more jobs', 30.0);
        $w->expectSame(0, $daemon->stop(), 'exit status');
    }
    $w->work();
    foreach ($uuids as $uuid) {
        $w->expectAttempts([1], $uuid);
        $w->expectSame(1, count($w->journal('end', $uuid)), 'ends');
    }
    $w->expectGone();
    $w->expectFailed(0);
});
