<?php

/** How a job can end, and what is left of it. */

declare(strict_types=1);

use App\Jobs\Deletes;
use App\Jobs\Fails;
use App\Jobs\Plain;
use App\Jobs\Releases;
use App\Jobs\Throws;
use Kqueue\Tests\World;

row(1, 'a job that succeeds runs once and is gone', function (World $w): void {
    $uuid = $w->dispatch(new Plain());
    $w->work();
    $w->expectAttempts([1], $uuid);
    $w->expectQueue();
    $w->expectGone();
    $w->expectFailed(0);
    $w->expectEvents(['JobProcessing', 'JobProcessed', 'JobAttempted']);
});

row(3, 'a job that throws with tries=1 fails: hook, failed_jobs, events', function (World $w): void {
    $uuid = $w->dispatch((new Throws())->with(['tries' => 1]));
    $payload = $w->backend->state()->ready[0]['payload'];
    $w->work();
    $w->expectRuns(1, $uuid);
    $w->expectQueue();
    $w->expectGone();
    $w->expectFailed(1, 'RuntimeException: thrown on purpose', $uuid);
    $w->expectSame('default', $w->failed()[0]['queue'], 'queue of the failed job');
    $w->expectSame($payload, $w->failed()[0]['payload'], 'payload of the failed job');
    $w->expectSame('RuntimeException', $w->journal('failed')[0]['exception'], 'what failed() was given');
    $w->expectEvents(['JobProcessing', 'failed', 'JobFailed', 'JobExceptionOccurred', 'JobAttempted', 'report']);
});

row(14, 'release(30) keeps one delayed copy', function (World $w): void {
    $w->dispatch(new Releases(30));
    $w->work();
    $w->expectRuns(1);
    $w->expectQueue(delayed: 1, attempts: 1, dueIn: 30);
    $w->expectFailed(0);
    $w->expectEvents(['JobProcessing', 'JobProcessed', 'JobReleased', 'JobAttempted']);
});

row(15, 'fail() fails the job, and nothing is reported', function (World $w): void {
    $uuid = $w->dispatch((new Fails('given up'))->with(['tries' => 5]));
    $w->work();
    $w->expectRuns(1);
    $w->expectGone();
    $w->expectFailed(1, $w->laravelIs('9.0') ? 'ManuallyFailedException: given up' : 'RuntimeException: given up', $uuid);
    $w->expectEvents(['JobProcessing', 'failed', 'JobFailed', 'JobProcessed', 'JobAttempted']);
});

row(16, 'delete() and return: gone, not failed', function (World $w): void {
    $w->dispatch(new Deletes());
    $w->work();
    $w->expectRuns(1);
    $w->expectGone();
    $w->expectFailed(0);
    $w->expectEvents(['JobProcessing', 'JobProcessed', 'JobAttempted']);
});

row(17, 'delete() and throw: gone, not failed, reported', function (World $w): void {
    $w->dispatch((new Deletes('throw'))->with(['tries' => 1]));
    $w->work();
    $w->expectRuns(1);
    $w->expectGone();
    $w->expectFailed(0);
    $w->expectEvents(['JobProcessing', 'JobExceptionOccurred', 'JobAttempted', 'report']);
});

row(18, 'release() and throw with tries left: one delayed copy', function (World $w): void {
    $w->dispatch((new Releases(30, throws: true))->with(['tries' => 3]));
    $w->work();
    $w->expectRuns(1);
    $w->expectQueue(delayed: 1, attempts: 1, dueIn: 30);
    $w->expectFailed(0);
    $w->expectEvents(['JobProcessing', 'JobExceptionOccurred', 'JobAttempted', 'report']);
});

row(18, 'release() and throw on the last try: failed, and the released copy stays', function (World $w): void {
    $uuid = $w->dispatch((new Releases(30, throws: true))->with(['tries' => 1]));
    $w->work();
    $w->expectRuns(1);
    $w->expectQueue(delayed: 1, attempts: 1, dueIn: 30);
    $w->expectFailed(1, 'thrown after release', $uuid);
});

row(19, 'delete() in a transaction that is rolled back: the row stays and runs again when its lease is over', function (World $w): void {
    $w->dispatch((new Deletes('rollback'))->with(['tries' => 3]));
    $w->work();
    $w->expectAttempts([1]);
    $w->expectQueue(reserved: 1, attempts: 1);
    $w->expireLeases();
    $w->work();
    $w->expectAttempts([1, 2]);
    $w->expectGone();
    $w->expectFailed(0);
}, drivers: ['database']);

row(20, 'release() makes a new row with the same payload', function (World $w): void {
    $w->dispatch(new Releases(30));
    $before = $w->backend->state()->ready[0]['row'];
    $w->sandbox->database()->exec('update jobs set created_at = created_at - 100');
    $w->work();
    $after = $w->backend->state()->delayed[0]['row'];
    $w->expect($after['id'] > $before['id'], 'a new row id');
    $w->expectSame($before['payload'], $after['payload'], 'payload');
    $w->expectSame(1, (int) $after['attempts'], 'attempts');
    $w->expect($after['created_at'] >= $before['created_at'], 'created_at is of the release');
}, drivers: ['database']);
