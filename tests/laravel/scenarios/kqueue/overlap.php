<?php

/** Jobs beside each other: nothing waits behind something slow. */

declare(strict_types=1);

use App\Jobs\Heavy;
use App\Jobs\Long;
use App\Jobs\Short;
use App\Jobs\Sleeps;
use Kqueue\Tests\World;

/** The most jobs that ran at the same moment; each must have run once. */
$atOnce = static function (World $w): int {
    $most = $now = 0;
    foreach ($w->journal() as $fact) {
        $now += ['start' => 1, 'end' => -1][$fact['what']] ?? 0;
        $most = max($most, $now);
    }

    return $most;
};

row('overlap', 'three jobs of 3 s run at the same time, each once', function (World $w) use ($atOnce): void {
    for ($i = 0; $i < 3; $i++) {
        $w->dispatch(new Sleeps(3000));
    }
    $w->work();
    $w->expectRuns(3);
    $w->expectSame(3, $atOnce($w), 'jobs at the same moment');
    $w->expectGone();
}, engines: ['kqueue']);

row('overlap', 'jobs of 1, 2, 3, 1, 2 s run beside each other', function (World $w) use ($atOnce): void {
    foreach ([1, 2, 3, 1, 2] as $seconds) {
        $w->dispatch(new Sleeps($seconds * 1000));
    }
    $w->work();
    $w->expectRuns(5);
    $w->expect($atOnce($w) >= 3, 'three at least at the same moment');
    // The longest is there from early on to the end: the others ran beside it, not after it.
    $starts = array_column($w->journal('start'), 't');
    $ends = array_column($w->journal('end'), 't');
    $w->expect(max($starts) < min(array_slice($ends, -3)), 'the last starts before the last three end');
    $w->expectGone();
}, engines: ['kqueue']);

row('isolated', 'light jobs behind a heavy isolated one do not wait for it', function (World $w): void {
    $dispatch = static fn (int $count): array => array_map(
        static fn (): string => $w->dispatch(new Sleeps(500)),
        range(1, $count),
    );
    $before = $dispatch(3);
    $heavy = $w->dispatch(new Heavy(2200));
    $after = $dispatch(2);
    $w->work();
    $ends = array_column($w->journal('end'), 't', 'uuid');
    $w->expectSame(6, count($ends), 'ends');
    $w->expectRuns(6);
    foreach ([...$before, ...$after] as $uuid) {
        $w->expect($ends[$uuid] < $ends[$heavy], 'every light job ends before the heavy one');
    }
    // A process of its own: nothing else ran in it.
    $pid = $w->journal('start', $heavy)[0]['pid'];
    $w->expectSame(1, count(array_keys(array_column($w->journal('start'), 'pid'), $pid, true)), 'jobs in the heavy job\'s process');
    $w->expectGone();
}, engines: ['kqueue']);

row('starve', 'a hundred quick jobs behind fifty slow ones are done before any second wave of slow ones', function (World $w): void {
    for ($i = 0; $i < 50; $i++) {
        $w->dispatch(new Long(5000));
    }
    for ($i = 0; $i < 100; $i++) {
        $w->dispatch(new Short(10));
    }
    $daemon = $w->start();
    $count = static fn (string $what, string $class): int => count(array_keys(array_column($w->journal($what), 'class'), $class, true));
    // The second wave can begin no earlier than the first slow job ends.
    Kqueue\Tests\Wait::until(static fn (): bool => $count('end', 'Short') === 100 || $count('end', 'Long') > 0, 'the first to be done', 30.0);
    $w->expectSame(100, $count('end', 'Short'), 'quick jobs done when the first slow one ends');
    $w->expect($count('start', 'Long') > 0, 'slow ones run meanwhile');
    $daemon->kill();
}, engines: ['kqueue']);

row('locked', 'SQLite and many processes at once: every job runs once and is gone', function (World $w): void {
    for ($i = 0; $i < 20; $i++) {
        $w->dispatch(new Heavy(20));
        $w->dispatch(new Sleeps(20));
    }
    $daemon = $w->start();
    $w->waitFor('end', 40);
    $w->waitForQueue();
    $w->expectSame(0, $daemon->stop(), 'exit status');
    $w->expectRuns(40);
    $w->expectFailed(0);
    $w->expectSame([], array_column($w->journal('report'), 'message'), 'reported exceptions');
}, drivers: ['database'], engines: ['kqueue']);
