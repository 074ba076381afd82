<?php

/** Jobs that operators put elsewhere: in their queues, and reserved. */

declare(strict_types=1);

use App\Jobs\Plain;
use App\Jobs\Quick;
use App\Jobs\Waits;
use Kqueue\Tests\Wait;
use Kqueue\Tests\World;

/** Moves these, and says what came of it. */
$move = static fn (World $w, string ...$which): array => $w->kqueue('move', '--as-root', 'app', ...[...$which, '--yes']);

/** One after the other. */
$strictly = ['default-tier' => 'inline', 'max-concurrent-inline' => 1];

row('move', 'kqueue move of jobs in their queue: to the front in their order, delayed ones to now, into another queue; twice is once, and no attempt is counted', function (World $w) use ($move, $strictly): void {
    // MySQL knows no ids below 1: there are some that were those of earlier jobs.
    $w->dispatchMany(new Quick(1), 5);
    $w->work($strictly);
    $tag = static fn (string $tag): object => (new Plain())->with(['tag' => $tag]);
    $uuids = array_map(static fn (string $name): string => $w->dispatch($tag($name)), ['a' => 'a', 'b' => 'b', 'c' => 'c', 'd' => 'd']);
    $later = $w->dispatch($tag('later'), delay: 600);
    [$said, $code] = $w->kqueue('move', '--as-root', 'app', '--class', 'Plain');
    $w->expectSame(2, $code, 'the exit code of a move to nowhere');
    [$dry] = $w->kqueue('move', '--as-root', 'app', '--class', 'Plain', '--front', '--dry-run');
    $w->expectSame([4, 0], [$dry['queued'] ?? $dry, $dry['settled'] ?? null], 'what a dry run counts');
    [$said, $code] = $move($w, $uuids['b'], $uuids['d'], '--front');
    $w->expectSame([2, 2, 0], [$said['queued'] ?? $said, $said['settled'] ?? null, $code], 'what goes to the front');
    // It is delayed: at the front it would not run.
    $w->expectSame(1, $move($w, $later, '--front')[1], 'the exit code where nothing waits there');
    [$said, $code] = $move($w, $later, '--now');
    $w->expectSame([1, 0], [$said['settled'] ?? $said, $code], 'what is moved to now');
    [$said, $code] = $move($w, $later, $uuids['a'], '--now');
    $w->expectSame([0, 0, []], [$said['settled'] ?? $said, $code, $said['missing'] ?? null], 'what is there already');
    $w->expectQueue(ready: 5, attempts: 0);
    $delayed = $w->dispatch($tag('much later'), delay: 600);
    foreach ([2, 0] as $moved) {
        [$said, $code] = $move($w, $uuids['c'], $delayed, '--to', 'other');
        $w->expectSame([$moved, 0], [$said['settled'] ?? $said, $code], 'what goes into another queue');
    }
    $w->expectSame(1, $move($w, '00000000-0000-4000-8000-000000000000', '--to', 'other')[1], 'the exit code of one that is not there');
    $w->expectSame(2, $move($w, '--class', 'Plain', '--to', 'other:delayed')[1], 'the exit code of a name that is a part of another queue');
    $w->expectQueue(ready: 4, attempts: 0);
    $w->work($strictly);
    $w->expectSame(['b', 'd', 'a', 'later'], array_values(array_filter(array_column($w->journal('start'), 'tag'))), 'the order');
    $w->expectQueue(queue: 'other', ready: 1, delayed: 1, attempts: 0);
    $w->kqueue('move', '--as-root', 'app', '--queue', 'other', '--now', '--yes');
    $w->work($strictly + ['queue' => 'other']);
    $w->expectSame([1], array_values(array_unique(array_column($w->journal('start'), 'attempts'))), 'attempts');
    $w->expectRuns(11);
}, engines: ['kqueue']);

row('move', 'kqueue move --front of what is reserved and waits, and of what is still in the queue: both come next, in this order', function (World $w) use ($move): void {
    $go = static fn (int $n): string => "{$w->sandbox->dir}/go-{$n}";
    $w->start(['max-concurrent-pooled' => 1, 'pool-size' => 1, 'pool-max-size' => 1, 'max-waiting' => 3]);
    $w->dispatchMany(new Quick(1), 5);
    $w->waitFor('end', 5);
    $uuids = [$w->dispatch(new Waits($go(0), 'pooled'))];
    $w->waitFor('start', uuid: $uuids[0]);
    foreach (range(1, 8) as $n) {
        $uuids[] = $w->dispatch(new Waits($go($n), 'pooled'));
    }
    $isFull = static fn (array $told): bool => $told['held'] === 4;
    $w->waitForStatus('running', 0, $isFull);
    [$said, $code] = $move($w, $uuids[3], $uuids[7], '--front');
    $w->expectSame([1, 1, 0], [$said['waiting'] ?? $said, $said['settled'] ?? null, $code], 'what is moved');
    touch($go(0));
    $w->waitFor('start', uuid: $uuids[3]);
    // Now there is room for one, and that is the other.
    $w->waitForStatus('running', 0, static fn (array $told): bool => in_array($uuids[7], array_column(array_merge(...array_column($told['tiers'], 'waiting_jobs')), 'uuid'), true));
    touch($go(3));
    $w->waitFor('start', uuid: $uuids[7]);
    array_map(static fn (int $n): bool => touch($go($n)), range(1, 8));
    $w->waitFor('end', 14);
    $w->expectSame([$uuids[0], $uuids[3], $uuids[7], $uuids[1]], array_slice(array_column($w->journal('start'), 'uuid'), 5, 4), 'the order');
    $w->expectSame([1], array_values(array_unique(array_column($w->journal('start'), 'attempts'))), 'attempts');
    $w->waitForQueue();
}, engines: ['kqueue']);

row('move', 'kqueue move --to of what is reserved and waits: in the other queue at once, uncounted; what runs stays', function (World $w) use ($move): void {
    $go = $w->sandbox->dir . '/go';
    $w->start(['max-concurrent-pooled' => 1, 'pool-size' => 1, 'pool-max-size' => 1]);
    $running = $w->dispatch(new Waits($go, 'pooled'));
    $w->waitFor('start');
    $w->dispatch(new Waits($go, 'pooled'));
    $last = $w->dispatch(new Waits($go, 'pooled'));
    $w->waitForStatus('running', 0, static fn (array $told): bool => $told['held'] === 3);
    [$dry] = $w->kqueue('move', '--as-root', 'app', '--class', 'Waits', '--to', 'other', '--dry-run');
    $w->expectSame([2, 1], [$dry['waiting'] ?? $dry, $dry['running'] ?? null], 'what a dry run counts');
    [$said, $code] = $move($w, '--class', 'Waits', '--to', 'other');
    $w->expectSame([2, 1, 0], [$said['waiting'] ?? $said, $said['running'] ?? null, $code], 'what is moved, and what runs');
    Wait::until(static fn (): bool => $w->size('other') === 2, 'two jobs in the other queue');
    $w->expectQueue(queue: 'other', ready: 2, attempts: 0);
    [$said, $code] = $move($w, $last, '--to', 'other');
    $w->expectSame([0, 0], [$said['settled'] ?? $said, $code], 'what is moved the second time');
    touch($go);
    $w->waitFor('end', uuid: $running);
    $w->waitForStatus('running', 0, static fn (array $told): bool => $told['held'] === 0);
    $w->expectRuns(1);
    $w->expectQueue();
}, engines: ['kqueue']);

row('move', 'kqueue move --to and --front of a class amid its work, beside stock workers and over a restart: each job runs once, and none counts another attempt', function (World $w) use ($move): void {
    $options = ['queue' => 'default,other', 'max-concurrent-inline' => 1];
    $daemon = $w->start($options);
    // A stock worker of Laravel 13 fails the job whose reservation meets a lock of SQLite's.
    $w->sandbox->service->name === 'sqlite' || $w->startStock(['queue' => 'other']);
    $w->waitForStatus('running');
    $uuids = $w->dispatchMany(new Quick(20), 200);
    $w->waitFor('end', 10);
    $move($w, ...[...array_slice($uuids, 150, 5), '--front']);
    [$said, $code] = $move($w, '--class', 'Quick', '--queue', 'default', '--to', 'other');
    $w->expectSame(0, $code, 'the exit code');
    $daemon->stop();
    $w->start($options);
    $w->kqueue('move', '--as-root', 'app', '--queue', 'other', '--to', 'default', '--yes');
    $w->waitFor('end', 200, 60.0);
    $last = $w->dispatch(new Plain());
    $w->waitFor('end', uuid: $last);
    $starts = $w->journal('start');
    $w->expectSame([1 => 201], array_count_values(array_count_values(array_column($starts, 'uuid'))), 'how many jobs ran how often');
    $w->expectSame([1], array_values(array_unique(array_column($starts, 'attempts'))), 'attempts');
    $w->expectFailed(0);
    $w->waitForQueue();
}, engines: ['kqueue']);
