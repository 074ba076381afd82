<?php

/** An app that takes part in the work of the queue: by listeners, and by working a queue itself. */

declare(strict_types=1);

use App\Jobs\Plain;
use App\Jobs\Throws;
use App\Jobs\Traces;
use App\Jobs\WorksQueue;
use Kqueue\Tests\World;

row(76, 'a Looping listener that says no holds the queue', function (World $w): void {
    touch($w->sandbox->app . '/hold');
    $uuid = $w->dispatch(new Plain());
    $daemon = $w->start();
    $w->waitFor('held', 3);
    $w->expectRuns(0);
    $w->differs(
        'kqueue may have reserved the job by then, for a worker that does not ask for it',
        stock: fn () => $w->expectQueue(ready: 1),
        kqueue: fn () => $w->expectSame(1, array_sum($w->backend->state()->counts()), 'jobs on the queue'),
    );
    unlink($w->sandbox->app . '/hold');
    $w->waitFor('end', uuid: $uuid);
    $w->waitForQueue();
    $daemon->stop();
    $w->expectAttempts([1], $uuid);
    $w->expectGone();
    $w->expectFailed(0);
}, env: ['LISTENERS' => 'hold']);

row(76, 'a Looping listener that rolls back what a job has left open: the next job is not in it', function (World $w): void {
    $first = $w->dispatch((new Traces(open: true))->with(['tag' => 'a', 'tries' => 2]));
    $daemon = $w->start();
    $w->waitFor('end', uuid: $first);
    $second = $w->dispatch((new Traces())->with(['tag' => 'b']));
    $w->waitFor('end', uuid: $second);
    // With the job's own writes, its removal from the same database is rolled back.
    $w->waitForQueue(reserved: $w->isInDatabase() ? 1 : 0);
    $daemon->stop();
    $traces = array_column($w->journal('traces'), null, 'tag')['b'];
    $w->expectSame([0, []], [$traces['level'], $traces['users']], 'open transactions and rows that the second job found');
    $w->expectSame(['b'], $w->sandbox->database()->query('select name from users')->fetchAll(PDO::FETCH_COLUMN), 'rows in the end');
    $w->expectAttempts([1], $first);
    $w->expectAttempts([1], $second);
    $w->expectFailed(0);
    $w->leftToChance('in which process the second job runs, and what else it finds there');
}, env: ['LISTENERS' => 'rollback']);

row(77, 'a JobProcessing listener that throws: counted as an exception of the job', function (World $w): void {
    $uuid = $w->dispatch((new Plain())->with(['tries' => 2, 'backoff' => 15]));
    $w->work();
    $w->expectRuns(0);
    $w->expectQueue(delayed: 1, attempts: 1, dueIn: 15);
    $w->expectEvents(['JobProcessing', 'JobExceptionOccurred', 'JobReleasedAfterException', 'JobAttempted', 'report']);
    $w->makeDue();
    $w->work();
    $w->expectAttempts([2], $uuid);
    $w->expectGone();
    $w->expectFailed(0);
}, env: ['LISTENERS' => 'throw']);

row(77, 'a JobProcessing listener that throws on the only try: failed without a run', function (World $w): void {
    $uuid = $w->dispatch((new Plain())->with(['tries' => 1]));
    $w->work();
    $w->expectRuns(0);
    $w->expectGone();
    $w->expectFailed(1, 'RuntimeException: thrown by a listener', $uuid);
    $w->expectEvents(['JobProcessing', 'failed', 'JobFailed', 'JobExceptionOccurred', 'JobAttempted', 'report']);
}, env: ['LISTENERS' => 'throw']);

row(87, 'a job that runs queue:work --once: the inner job fails once, and the worker goes on as before', function (World $w): void {
    $inner = $w->dispatch((new Throws())->with(['tries' => 1]), 'other');
    $left = $w->dispatch(new Plain(), 'other');
    $outer = $w->dispatch(new WorksQueue('other'));
    $after = [];
    for ($i = 0; $i < 5; $i++) {
        $after[] = $w->dispatch(new Plain());
    }
    // It ends only if every worker is still the engine's.
    $w->work(['pool-size' => 1, 'pool-max-size' => 1, 'max-concurrent-inline' => 1, 'max-concurrent-pooled' => 1, 'max-concurrent-isolated' => 1]);
    $w->expectQueue();
    $w->expectRuns(1, $inner);
    $w->expectAttempts([1], $outer);
    $w->expectFailed(1, 'thrown on purpose', $inner);
    // Before 11.30 the inner command lists the failed job a second time, which the table refuses.
    $w->laravelIs('11.30') || $w->leftToChance('what is reported is cut off in the middle of a uuid');
    $reports = array_column($w->journal('report'), 'message');
    $w->expectSame(1, count($reports), 'reports');
    $w->expectContains($w->laravelIs('11.30') ? 'thrown on purpose' : 'UNIQUE constraint failed: failed_jobs.uuid', $reports[0], 'what was reported');
    foreach ($after as $uuid) {
        $w->expectAttempts([1], $uuid);
        $w->expectEvents(['JobProcessing', 'JobProcessed', 'JobAttempted'], $uuid);
    }
    $w->expectRuns(0, $left);
    // Of stock the command that runs inside has taken the output away.
    $w->engine->isKqueue() && $w->expectSame(5, substr_count($w->output(), Plain::class), 'plain jobs that kqueue knows of');
});

row(87, 'a job that works another queue until it is empty: the engine hears of its end, and not before', function (World $w): void {
    $inner = [$w->dispatch(new Plain(), 'other'), $w->dispatch(new Plain(), 'other')];
    $outer = $w->dispatch(new WorksQueue('other', '--stop-when-empty'));
    $w->work();
    $w->expectAttempts([1], $outer);
    $w->expectSame(1, count($w->journal('end', $outer)), 'ends of the outer job');
    foreach ($inner as $uuid) {
        $w->expectAttempts([1], $uuid);
    }
    $w->expectGone();
    $w->expectFailed(0);
});
