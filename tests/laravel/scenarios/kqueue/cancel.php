<?php

/** Jobs that operators cancel: in their queues, reserved, running. */

declare(strict_types=1);

use App\Jobs\InBatch;
use App\Jobs\Plain;
use App\Jobs\Quick;
use App\Jobs\Stoppable;
use App\Jobs\Unique;
use App\Jobs\UniqueUntilStart;
use App\Jobs\Waits;
use App\Journal;
use Illuminate\Bus\Batch;
use Illuminate\Support\Facades\Bus;
use Illuminate\Support\Facades\Queue;
use Kqueue\Tests\Wait;
use Kqueue\Tests\World;

/** Cancels these, and says what came of it. */
$cancel = static fn (World $w, string ...$which): array => $w->kqueue('cancel', '--as-root', 'app', ...[...$which, '--yes']);

row('cancel', 'kqueue cancel of jobs in their queue: they fail, chain and batch are told, locks go, and others stay', function (World $w) use ($cancel): void {
    $w->send(new Unique());
    $w->send(new UniqueUntilStart());
    Bus::chain([(new Plain())->with(['tag' => 'a']), (new Plain())->with(['tag' => 'b'])])
        ->catch(static fn (Throwable $e) => Journal::write('caught', ['message' => $e->getMessage()]))->dispatch();
    $later = $w->dispatch((new Plain())->with(['tag' => 'later']), delay: 600);
    $w->dispatch(new Quick(1));
    Bus::batch([new InBatch()])->catch(static fn (Batch $batch, Throwable $e) => Journal::write('batch', ['message' => $e->getMessage()]))->dispatch();
    $w->expectQueue(ready: 5, delayed: 1);
    [$dry] = $w->kqueue('cancel', '--as-root', 'app', '--class', 'Plain', '--dry-run');
    $w->expectSame([2, 0], [$dry['queued'] ?? $dry, $dry['settled'] ?? null], 'what a dry run counts');
    [$said, $code] = $cancel($w, '--class', 'Plain');
    $w->expectSame([2, 2, 0], [$said['queued'] ?? $said, $said['settled'] ?? null, $code], 'what is cancelled');
    $w->expectSame([1, 0], [$w->kqueue('cancel', '--as-root', 'app', $later)[1], $cancel($w, '--class', 'Plain')[1]], 'exit codes the second time, by uuid and by class');
    foreach (['Unique', 'UniqueUntilStart', 'InBatch'] as $class) {
        [$said, $code] = $cancel($w, '--class', $class);
        $w->expectSame([1, 0], [$said['settled'] ?? $said, $code], "what is cancelled of {$class}");
    }
    $w->expectQueue(ready: 1);
    $w->expectSame(5, count($w->failed()), 'the record of failed jobs');
    $w->expectContains('Kqueue\Worker\CancelledException: cancelled by ', $w->failed()[0]->exception ?? $w->failed()[0]['exception'], 'an exception there');
    $w->expectSame(['a', 'later'], array_values(array_filter(array_column($w->journal('failed'), 'tag'))), 'calls of failed() with a tag');
    $w->expectContains('cancelled by ', $w->journal('caught')[0]['message'] ?? '', 'what the chain is told');
    $w->expectContains('cancelled by ', $w->journal('batch')[0]['message'] ?? '', 'what the batch is told');
    $w->expect($w->send(new Unique()) !== null && $w->send(new UniqueUntilStart()) !== null, 'the locks are gone');
    $w->expectRuns(0);
}, engines: ['kqueue']);

row('cancel', 'kqueue cancel --tag: the waiting and delayed jobs with that tag fail, and others of their class stay', function (World $w) use ($cancel): void {
    Queue::createPayloadUsing(static fn (): array => ['tags' => ['tenant:7', 'late']]);
    try {
        $tagged = [$w->dispatch(new Plain()), $w->dispatch(new Plain(), delay: 600)];
        Queue::createPayloadUsing(null);
        Queue::createPayloadUsing(static fn (): array => ['tags' => ['tenant:71']]);
        $w->dispatch(new Plain());
    } finally {
        Queue::createPayloadUsing(null);
    }
    $w->dispatch(new Plain());
    $w->expectQueue(ready: 3, delayed: 1);
    [$dry] = $w->kqueue('cancel', '--as-root', 'app', '--tag', 'tenant:7', '--dry-run');
    $w->expectSame([2, 0], [$dry['queued'] ?? $dry, $dry['settled'] ?? null], 'what a dry run counts');
    [$said, $code] = $cancel($w, '--tag', 'tenant:7');
    $w->expectSame([2, 2, 0], [$said['queued'] ?? $said, $said['settled'] ?? null, $code], 'what is cancelled');
    $w->expectQueue(ready: 2);
    $failed = array_map(static fn (array|object $job): string => ((array) $job)['uuid'] ?? '', $w->failed());
    sort($failed);
    sort($tagged);
    $w->expectSame($tagged, $failed, 'the record of failed jobs');
    [$said, $code] = $cancel($w, '--tag', 'tenant:7');
    $w->expectSame([0, 0], [$said['queued'] ?? $said, $code], 'what is cancelled the second time');
}, engines: ['kqueue']);

row('cancel', 'kqueue cancel of jobs that run and wait: those that run are ended after the grace period, all fail once, and others go on', function (World $w) use ($cancel): void {
    $w->start(['timeout-grace' => '1s', 'pool-size' => 1, 'pool-max-size' => 1, 'max-concurrent-pooled' => 1]);
    $never = $w->sandbox->dir . '/never';
    $running = [$w->dispatch(new Waits($never, 'pooled')), $w->dispatch(new Waits($never, 'isolated'))];
    $w->waitFor('start', 2);
    // One waits for the pool, reserved.
    $waiting = $w->dispatch((new Waits($never, 'pooled'))->with(['tries' => 3]));
    $w->waitForStatus('running', 0, static fn (array $told): bool => $told['held'] === 3);
    [$said, $code] = $cancel($w, '--class', 'Waits');
    $w->expectSame([2, 1, 1, 0], [$said['running'] ?? $said, $said['waiting'] ?? null, $said['grace'] ?? null, $code], 'what is cancelled');
    $w->waitFor('failed', 3);
    Wait::until(static fn (): bool => count($w->failed()) === 3, 'a record of three failed jobs');
    $w->dispatch(new Plain());
    $w->waitFor('end');
    $w->expectRuns(0, $waiting);
    array_map(static fn (string $uuid) => $w->expectRuns(1, $uuid), $running);
    foreach ($w->failed() as $failed) {
        $w->expectContains('CancelledException: cancelled by ', ((array) $failed)['exception'], 'why');
    }
    $w->waitForStatus('running', 0, static fn (array $told): bool => $told['held'] === 0);
    $w->expectQueue();
    // Those that have failed may be retried: they are not remembered.
    [$retried] = $w->kqueue('failed', '--as-root', 'app', 'retry', $waiting);
    $w->expectSame(1, $retried['done'] ?? $retried, 'retried');
    $w->waitFor('start', uuid: $waiting);
}, engines: ['kqueue']);

row('cancel', 'a job that can be interrupted hears of it, and may end by itself', function (World $w) use ($cancel): void {
    $uuid = $w->dispatch((new Stoppable())->with(['tries' => 1]));
    $w->start(['timeout-grace' => '20s']);
    $w->waitFor('start', uuid: $uuid);
    [$said, $code] = $cancel($w, $uuid);
    $w->expectSame([1, 0], [$said['running'] ?? $said, $code], 'what is cancelled');
    $w->waitFor('interrupted');
    $w->waitFor('end', uuid: $uuid);
    $w->dispatch(new Plain());
    $w->waitFor('end', 2);
    $w->expectFailed(0);
}, engines: ['kqueue'], since: '13.7');

row('cancel', 'kqueue cancel --delete of a class amid its work, over a restart: each job has run once or is gone, none failed', function (World $w) use ($cancel): void {
    $daemon = $w->start(['max-concurrent-inline' => 1]);
    $w->waitForStatus('running');
    $w->dispatchMany(new Quick(50), 200);
    $w->waitFor('end', 10);
    [$said, $code] = $cancel($w, '--class', 'Quick', '--delete');
    $w->expectSame(0, $code, 'the exit code');
    $daemon->stop();
    $w->expectQueue();
    $w->start();
    $last = $w->dispatch(new Plain());
    $w->waitFor('end', uuid: $last);
    $starts = array_count_values(array_column($w->journal('start'), 'uuid'));
    $w->expectSame([1], array_values(array_unique($starts)), 'how often a job ran');
    $w->expect(count($starts) > 10 && count($starts) < 200, count($starts) . ' have run: some, and not all');
    $w->expectFailed(0);
}, engines: ['kqueue']);
