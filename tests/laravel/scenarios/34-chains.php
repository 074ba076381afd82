<?php

/** Jobs that follow on others: chains and batches. */

declare(strict_types=1);

use App\Jobs\InBatch;
use App\Jobs\Plain;
use App\Jobs\Releases;
use App\Jobs\Throws;
use App\Journal;
use Illuminate\Bus\Batch;
use Illuminate\Support\Facades\Bus;
use Kqueue\Tests\World;

/** One job at a time: SQLite has one writer at a time, and the app's own are not patient. */
$one = ['pool-size' => 1, 'pool-max-size' => 1, 'max-concurrent-inline' => 1, 'max-concurrent-pooled' => 1, 'max-concurrent-isolated' => 1];

$ran = static fn (World $w): array => array_column($w->journal('end'), 'tag');

row(30, 'a chain whose second job fails: the third is never queued, the callback is called', function (World $w) use ($ran): void {
    Bus::chain([
        (new Plain())->with(['tag' => 'a']),
        (new Throws())->with(['tag' => 'b', 'tries' => 1]),
        (new Plain())->with(['tag' => 'c']),
    ])->catch(static function (Throwable $e): void {
        Journal::write('caught', ['message' => $e->getMessage()]);
    })->dispatch();
    $w->expectQueue(ready: 1);
    $w->work();
    $w->expectSame(['a'], $ran($w), 'ends');
    $w->expectSame(['a', 'b'], array_column($w->journal('start'), 'tag'), 'starts');
    $w->expectSame(['thrown on purpose'], array_column($w->journal('caught'), 'message'), 'calls of the chain\'s callback');
    $w->expectSame(['b'], array_column($w->journal('failed'), 'tag'), 'calls of failed()');
    $w->expectGone();
    $w->expectFailed(1, 'RuntimeException: thrown on purpose', $w->uuidOf('b'));
    $w->expectEvents(['JobProcessing', 'JobProcessed', 'JobAttempted'], $w->uuidOf('a'));
    $w->expectEvents(['JobProcessing', 'JobFailed', 'JobExceptionOccurred', 'JobAttempted'], $w->uuidOf('b'));
});

row(31, 'a chain whose first job is released: the second waits until it has succeeded', function (World $w) use ($ran): void {
    Bus::chain([
        (new Releases(30))->with(['tag' => 'a', 'tries' => 2]),
        (new Plain())->with(['tag' => 'b']),
    ])->dispatch();
    $w->work();
    $w->expectQueue(delayed: 1, attempts: 1, dueIn: 30);
    $w->expectSame(['a'], $ran($w), 'ends');
    $w->makeDue();
    $w->work();
    $w->expectAttempts([1, 2], $w->uuidOf('a'));
    $w->expectAttempts([1], $w->uuidOf('b'));
    $w->expectSame(['a', 'a', 'b'], $ran($w), 'ends');
    $w->expectGone();
    $w->expectFailed(0);
});

$batch = static fn (array $jobs) => Bus::batch($jobs)
    ->then(static function (Batch $batch): void {
        Journal::write('then');
    })->catch(static function (Batch $batch, Throwable $e): void {
        Journal::write('catch', ['message' => $e->getMessage()]);
    })->finally(static function (Batch $batch): void {
        Journal::write('finally');
    });

$called = static fn (World $w): array => array_count_values(array_intersect(array_column($w->journal(), 'what'), ['then', 'catch', 'finally']));

row(32, 'a batch of three of which the second fails: cancelled, catch once, finally once', function (World $w) use ($one, $batch, $called): void {
    $batch([
        (new InBatch())->with(['tag' => 'a']),
        (new InBatch('throw'))->with(['tag' => 'b', 'tries' => 1]),
        (new InBatch())->with(['tag' => 'c']),
    ])->dispatch();
    $w->expectBatch(3, 3, 0, false, false);
    $w->work($one);
    $w->expectSame(['a', 'b', 'c'], array_column($w->journal('start'), 'tag'), 'starts');
    $w->expectSame(['c'], array_column($w->journal('cancelled'), 'tag'), 'who saw that the batch is cancelled');
    $w->expectBatch(3, 1, 1, true, true);
    $w->expectSame(['catch' => 1, 'finally' => 1], $called($w), 'callbacks');
    $w->expectGone();
    $w->expectFailed(1, 'RuntimeException: thrown on purpose', $w->uuidOf('b'));
});

row(32, 'a batch that allows failures: the others run, catch once, finally once', function (World $w) use ($one, $batch, $called): void {
    $batch([
        (new InBatch('throw'))->with(['tag' => 'a', 'tries' => 1]),
        (new InBatch('throw'))->with(['tag' => 'b', 'tries' => 1]),
        (new InBatch())->with(['tag' => 'c']),
    ])->allowFailures()->dispatch();
    $w->work($one);
    $w->expectSame([], $w->journal('cancelled'), 'who saw that the batch is cancelled');
    $w->expectBatch(3, 2, 2, false, false);
    $w->expectSame(['catch' => 1, 'finally' => 1], $called($w), 'callbacks');
    $w->expectGone();
    $w->expectFailed(2, 'RuntimeException: thrown on purpose');
});

row(32, 'a batch that succeeds: then once, finally once', function (World $w) use ($one, $batch, $called): void {
    $batch([new InBatch(), new InBatch(), new InBatch()])->dispatch();
    $w->work($one);
    $w->expectRuns(3);
    $w->expectBatch(3, 0, 0, false, true);
    $w->expectSame(['then' => 1, 'finally' => 1], $called($w), 'callbacks');
    $w->expectGone();
    $w->expectFailed(0);
});

row(33, 'a batch within a chain: the rest of the chain follows when the batch is finished', function (World $w) use ($one, $ran): void {
    Bus::chain([
        (new Plain())->with(['tag' => 'a']),
        Bus::batch([(new InBatch())->with(['tag' => 'b']), (new InBatch())->with(['tag' => 'b'])]),
        (new Plain())->with(['tag' => 'c']),
    ])->dispatch();
    $w->work($one);
    $w->expectSame(['a', 'b', 'b', 'c'], $ran($w), 'ends');
    $w->expectBatch(2, 0, 0, false, true);
    $w->expectGone();
    $w->expectFailed(0);
}, since: '10.31');
