<?php

/** Jobs that keep others away: locks in the cache, and what becomes of them. */

declare(strict_types=1);

use App\Jobs\Alone;
use App\Jobs\Debounced;
use App\Jobs\InBatch;
use App\Jobs\OfUser;
use App\Jobs\OfUserOrNone;
use App\Jobs\OneAMinute;
use App\Jobs\Unique;
use App\Jobs\UniqueUntilStart;
use App\Journal;
use App\Models\User;
use Illuminate\Bus\Batch;
use Illuminate\Cache\RateLimiter;
use Illuminate\Queue\Middleware\WithoutOverlapping;
use Illuminate\Support\Facades\Bus;
use Kqueue\Tests\World;

$crash = ['crash' => 'laravel'];

row(34, 'a unique job dispatched twice runs once, and its lock is gone', function (World $w): void {
    $uuid = $w->send(new Unique());
    $w->expectCache([$w->uniqueLock(new Unique())]);
    $w->expectSame(null, $w->send(new Unique()), 'what the second dispatch queued');
    $w->expectQueue(ready: 1);
    $w->work();
    $w->expectRuns(1);
    $w->expectGone();
    $w->expectFailed(0);
    $w->expectCache();
    $w->expectEvents(['JobProcessing', 'JobProcessed', 'JobAttempted'], $uuid);
    $w->expect($w->send(new Unique()) !== null, 'it can be dispatched again');
});

row(34, 'a unique job is unique while it runs', function (World $w): void {
    $w->send(new Unique('again'));
    $w->work();
    $w->expectSame(1, count($w->journal('again')), 'dispatches from within');
    $w->expectRuns(1);
    $w->expectGone();
    $w->expectCache();
});

row(35, 'a unique job that fails for good: the lock stays for as long as it is tried, and goes then', function (World $w): void {
    $lock = $w->uniqueLock(new Unique());
    $uuid = $w->send((new Unique('throw'))->with(['tries' => 2]));
    $w->work(['max-jobs' => 1]);
    $w->expectQueue(ready: 1, attempts: 1);
    $w->expectCache([$lock]);
    $w->expectSame(null, $w->send(new Unique()), 'what a dispatch between two attempts queued');
    $w->work();
    $w->expectAttempts([1, 2], $uuid);
    $w->expectGone();
    $w->expectFailed(1, 'thrown on purpose', $uuid);
    $w->expectCache();
});

/** A unique job of a model that is deleted before the job runs. */
$missing = static function (World $w, string $class): string {
    $user = User::named('ann');
    $job = new $class($user);
    $lock = $w->uniqueLock($job);
    $uuid = $w->send($job);
    $w->expectCache([$lock]);
    $user->delete();
    $w->work();
    $w->expectRuns(0);
    $w->expectGone();
    // Without the job, only the context that came with it knows the lock, and Laravel 11 is the first to have one.
    $w->expectCache($w->laravelIs('11') ? [] : [$lock]);

    return (string) $uuid;
};

row(36, 'a unique job whose model is gone, deleteWhenMissingModels: deleted', function (World $w) use ($missing): void {
    $missing($w, OfUserOrNone::class);
    $w->expectFailed(0);
    $w->expectEvents(['JobProcessing', 'JobProcessed', 'JobAttempted']);
});

row(36, 'a unique job whose model is gone: failed', function (World $w) use ($missing): void {
    $uuid = $missing($w, OfUser::class);
    $w->expectFailed(1, 'ModelNotFoundException: No query results for model [App\Models\User]', $uuid);
    // Not reported: Laravel's handler never reports this exception. Nor is failed() called, without a job.
    $w->expectEvents(['JobProcessing', 'JobFailed', 'JobExceptionOccurred', 'JobAttempted']);
});

row(37, 'unique until it starts: from within it, the next can be dispatched', function (World $w): void {
    $w->send((new UniqueUntilStart('again'))->with(['tag' => 'first']));
    $w->expectCache([$w->uniqueLock(new UniqueUntilStart())]);
    $w->expectSame(null, $w->send(new UniqueUntilStart()), 'what the second dispatch queued');
    $w->work();
    $w->expectRuns(1, $w->uuidOf('first'));
    $w->expectRuns(1, $w->uuidOf('second'));
    $w->expectRuns(2);
    $w->expectGone();
    $w->expectFailed(0);
    $w->expectCache();
});

row(38, 'a debounced job that a later one has superseded is deleted without a run', function (World $w): void {
    $first = $w->send(new Debounced());
    $second = $w->send(new Debounced());
    $w->expectQueue(delayed: 2);
    $lock = 'laravel_debounced_job:' . Debounced::class . ':one';
    $w->expectCache([$lock]);
    $w->makeDue();
    $w->work();
    $w->expectRuns(0, $first);
    $w->expectRuns(1, $second);
    $w->expectSame([$first], array_column($w->journal('debounced'), 'uuid'), 'JobDebounced');
    $w->expectGone();
    $w->expectFailed(0);
    $w->expectCache([$lock]);
    $w->expectEvents(['JobProcessing', 'JobProcessed', 'JobAttempted'], $first);
}, since: '13.6');

row(39, 'WithoutOverlapping: the second is released for as long as it says, and runs as its second attempt', function (World $w): void {
    $lock = (new WithoutOverlapping('one'))->getLockKey(new Alone());
    $go = $w->sandbox->dir . '/go';
    $first = $w->dispatch(new Alone($go));
    $daemons = [$w->start()];
    $w->waitFor('start', uuid: $first);
    // One stock worker runs one job at a time.
    $w->engine->isKqueue() || $daemons[] = $w->start();
    $second = $w->dispatch((new Alone())->with(['tries' => 2]));
    $w->waitForQueue(delayed: 1, reserved: 1);
    $w->expectCache([$lock]);
    $delayed = $w->backend->state()->delayed[0];
    touch($go);
    $w->waitFor('end', uuid: $first);
    $w->waitForQueue(delayed: 1);
    foreach ($daemons as $daemon) {
        $daemon->stop();
    }
    $released = array_column($w->journal('event', $second), 't', 'event')['JobProcessed'];
    $w->expect(abs($delayed['due'] - (int) $released - 20) <= 1, 'due in 20 s');
    $w->expectQueue(delayed: 1, attempts: 1);
    $w->expectCache();
    $w->makeDue();
    $w->work();
    $w->expectAttempts([1], $first);
    $w->expectAttempts([2], $second);
    $w->expectGone();
    $w->expectFailed(0);
    $w->expectCache();
    $w->expectEvents([
        'JobProcessing', 'JobProcessed', 'JobReleased', 'JobAttempted',
        'JobProcessing', 'JobProcessed', 'JobAttempted',
    ], $second);
});

row(39, 'WithoutOverlapping that does not release: the second is dropped', function (World $w): void {
    $lock = (new WithoutOverlapping('one'))->getLockKey(new Alone());
    $w->laravel['cache']->lock($lock, 600)->get();
    $w->dispatch(new Alone(drop: true));
    $w->work();
    $w->expectRuns(0);
    $w->expectGone();
    $w->expectFailed(0);
    $w->expectCache([$lock]);
    $w->expectEvents(['JobProcessing', 'JobProcessed', 'JobAttempted']);
});

row(40, 'RateLimited: what is over the limit is released until there is room again', function (World $w): void {
    $first = $w->dispatch(new OneAMinute());
    $w->work();
    $second = $w->dispatch((new OneAMinute())->with(['tries' => 2]));
    $w->work();
    $w->expectRuns(1, $first);
    $w->expectRuns(0, $second);
    $w->expectQueue(delayed: 1, attempts: 1);
    // Laravel adds three seconds to be sure.
    $in = $w->backend->state()->delayed[0]['due'] - (int) $w->journal('start', $first)[0]['t'];
    $w->expect(abs($in - 63) <= 1, "due 63 s after the first (it is {$in} s)");
    $w->expectFailed(0);
    $key = md5('one-a-minute');
    $w->expectCache([$key, "{$key}:timer"]);
    $w->expectEvents(['JobProcessing', 'JobProcessed', 'JobReleased', 'JobAttempted'], $second);
    $w->laravel[RateLimiter::class]->clear($key);
    $w->makeDue();
    $w->work();
    $w->expectAttempts([2], $second);
    $w->expectGone();
    $w->expectFailed(0);
});

/** A process that dies under a job with one try: what is there before it is failed, and what after, whenever that is. */
$dies = static function (World $w, Closure $before, Closure $after): void {
    // One after the other: the batch's counts are of SQLite, and the app's own writes are not patient.
    $w->work(['pool-size' => 1, 'pool-max-size' => 1, 'max-concurrent-inline' => 1, 'max-concurrent-pooled' => 1, 'max-concurrent-isolated' => 1]);
    $w->differsWhereHeld(
        'a crash is replayed at once, and what failing lets go is let go at once',
        stock: function () use ($w, $before, $after): void {
            $w->expectQueue(reserved: 1, attempts: 1);
            $w->expectFailed(0);
            $before();
            $w->expireLeases();
            $w->work();
            $w->expectFailed(1, 'MaxAttemptsExceededException');
            $after();
        },
        kqueue: function () use ($w, $after): void {
            $w->expectFailed(1, 'exit');
            $after();
        },
    );
    $w->expectSame(1, count($w->journal('failed')), 'calls of failed()');
    $w->expectGone();
};

row(52, 'a crash of a unique job: its lock goes when it is failed', function (World $w) use ($dies): void {
    $lock = $w->uniqueLock(new Unique());
    $uuid = $w->send((new Unique('exit'))->with(['tries' => 1]));
    $dies($w, fn () => $w->expectCache([$lock]), fn () => $w->expectCache());
    $w->expectAttempts([1], $uuid);
    $w->expect($w->send(new Unique()) !== null, 'it can be dispatched again');
}, back: $crash);

row(52, 'a crash of a batched job: the batch counts it as failed, once', function (World $w) use ($dies): void {
    Bus::batch([(new InBatch())->with(['tag' => 'a']), (new InBatch('exit'))->with(['tag' => 'b', 'tries' => 1])])
        ->allowFailures()
        ->catch(static function (Batch $batch, Throwable $e): void {
            Journal::write('catch');
        })->finally(static function (Batch $batch): void {
            Journal::write('finally');
        })->dispatch();
    $dies(
        $w,
        fn () => $w->expectBatch(2, 1, 0, false, false),
        fn () => $w->expectBatch(2, 1, 1, false, false),
    );
    $w->expectSame(1, count($w->journal('catch')), 'calls of catch()');
    $w->expectSame(1, count($w->journal('finally')), 'calls of finally()');
    $w->expectAttempts([1], $w->uuidOf('b'));
}, back: $crash);

row(52, 'a crash of a job WithoutOverlapping: its lock stays, as Laravel leaves it', function (World $w) use ($dies): void {
    $lock = (new WithoutOverlapping('one'))->getLockKey(new Alone());
    $w->dispatch((new Alone(exits: true))->with(['tries' => 1]));
    $dies($w, fn () => $w->expectCache([$lock]), fn () => $w->expectCache([$lock]));
    $next = $w->dispatch(new Alone());
    $w->work();
    $w->expectRuns(0, $next);
    $w->expectQueue(delayed: 1, attempts: 1, dueIn: 20);
}, back: $crash);
