<?php

/** How kqueue ends, and what it leaves behind. */

declare(strict_types=1);

use App\Jobs\Long;
use App\Jobs\Plain;
use App\Jobs\Short;
use App\Jobs\Sleeps;
use App\Jobs\Waits;
use Kqueue\Tests\Processes;
use Kqueue\Tests\Wait;
use Kqueue\Tests\World;

row('drain', 'SIGTERM: what runs finishes, what waits goes back to the head, uncounted', function (World $w): void {
    $uuids = array_map(static fn (): string => $w->dispatch(new Long(1200)), range(1, 4));
    $daemon = $w->start(['max-concurrent-pooled' => 1, 'pool-size' => 1, 'pool-max-size' => 1]);
    $w->waitFor('start');
    // Behind the ones that wait: whether what was taken goes back to its place shows only so.
    $uuids[] = $w->dispatch(new Long(1200));
    $w->expectSame(0, $daemon->stop(), 'exit status');
    $w->expectRuns(1);
    $w->expectSame(1, count($w->journal('end', $uuids[0])), 'ends of the first');
    $w->expectQueue(ready: 4);
    $left = $w->backend->state()->ready;
    $w->expectSame(array_slice($uuids, 1), array_map(static fn (array $job): string => json_decode($job['payload'], true)['uuid'], $left), 'what waits, in order');
    $w->expectSame([0, 0, 0, 0], array_column($left, 'attempts'), 'attempts of what waits');
    $w->expectSame([], Processes::of($w->sandbox->dir), 'processes left behind');
}, engines: ['kqueue']);

row('drain', 'a second SIGTERM kills what runs, and settles it', function (World $w): void {
    $w->dispatch((new Sleeps(600_000))->with(['tries' => 3]));
    $daemon = $w->start();
    $w->waitFor('start');
    // Two signals on each other's heels may arrive as one, so the operator keeps pressing.
    for ($i = 0; $i < 50 && $daemon->runs(); $i++) {
        $daemon->signal(SIGTERM);
        usleep(200_000);
    }
    $daemon->wait(5.0);
    $w->expectRuns(1);
    $w->expectQueue(ready: 1, attempts: 1);
    $w->expectFailed(0);
    $w->expectSame([], Processes::of($w->sandbox->dir), 'processes left behind');
}, engines: ['kqueue']);

row('orphans', 'SIGKILL of kqueue leaves no process behind', function (World $w): void {
    $w->dispatch(new Sleeps(600_000));
    $daemon = $w->start();
    $w->waitFor('start');
    $w->expect(count($daemon->php()) > 0, 'PHP processes are there');
    $daemon->signal(SIGKILL);
    $daemon->wait();
    Wait::until(static fn (): bool => Processes::of($w->sandbox->dir) === [], 'every process to end');
    $w->expectQueue(reserved: 1, attempts: 1);
}, engines: ['kqueue']);

row('killed', 'every PHP process is killed after each of eight jobs: one that has proved itself is replaced at once', function (World $w): void {
    $daemon = $w->start(['default-tier' => 'isolated', 'pool-min-idle' => 0]);
    // The delays of a template that keeps dying with nothing done would add up to more than a minute and a half.
    for ($i = 1; $i <= 8; $i++) {
        $w->dispatch(new Plain());
        $w->waitFor('end', $i);
        $w->waitForQueue();
        Processes::kill(SIGKILL, ...$daemon->php());
    }
    $w->expectRuns(8);
    $w->expectFailed(0);
}, engines: ['kqueue']);

row('chaos', 'a thousand jobs (300 on SQLite) while PHP is killed at random: none lost, no attempt counted twice', function (World $w): void {
    $uuids = [];
    // SQLite lets one process write at a time: fewer jobs make the same point.
    $jobs = $w->sandbox->driver === 'redis' ? 1000 : 300;
    for ($i = 0; $i < $jobs; $i++) {
        $uuids[] = $w->dispatch((new Short(25))->with(['tries' => 250]));
    }
    $daemon = $w->start();
    $w->waitFor('end');
    $killed = 0;
    Wait::until(static function () use ($w, $daemon, $uuids, $jobs, &$killed): bool {
        $done = array_column($w->journal('end'), 'uuid', 'uuid');
        $w->expect($daemon->runs(), 'kqueue is still there');
        // At even distances over the run, so that it comes to its end on any machine.
        $php = $daemon->php();
        if ($php !== [] && $killed < 30 && count($done) >= $killed * $jobs / 34) {
            Processes::kill(SIGKILL, $php[array_rand($php)]);
            $killed++;
        }

        return count($done) === count($uuids);
    }, 'every job to end', 90.0);
    $w->waitForQueue();
    $daemon->stop();
    $w->expect($killed >= 10, "processes were killed ({$killed})");
    $w->expectFailed(0);
    $attempts = [];
    foreach ($w->journal('start') as $fact) {
        $attempts[$fact['uuid']][] = $fact['attempts'];
    }
    foreach ($attempts as $uuid => $seen) {
        $w->expectSame(array_values(array_unique($seen)), $seen, "attempts of {$uuid}, none twice");
        $sorted = $seen;
        sort($sorted);
        $w->expectSame($sorted, $seen, "attempts of {$uuid}, in order");
    }
    // A killed process had one job at the most, and a kill is one attempt.
    $w->expect(count($w->journal('start')) <= count($uuids) + $killed, 'no more runs than jobs and kills');
}, engines: ['kqueue']);

row('ends', 'a process from before a reload dies of a signal: its job fails with that signal', function (World $w): void {
    $uuid = $w->dispatch((new Waits($w->sandbox->dir . '/never', 'inline'))->with(['tries' => 1]));
    $daemon = $w->start();
    $pid = $w->waitFor('start')[0]['pid'];
    $daemon->signal(SIGHUP);
    // Jobs of the new template run while the old one still has a child.
    $next = $w->dispatch(new Plain());
    $w->waitFor('end', uuid: $next);
    posix_kill($pid, SIGSEGV);
    Wait::until(static fn (): bool => $w->failed() !== [], 'the failed job', 15);
    $daemon->stop();
    $w->expectFailed(1, 'SIGSEGV', $uuid);
}, engines: ['kqueue']);
