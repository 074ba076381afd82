<?php

/** When a job is tried again, and when it is given up. */

declare(strict_types=1);

use App\Exceptions\Hopeless;
use App\Jobs\Plain;
use App\Jobs\Throws;
use Kqueue\Tests\World;

row(4, 'tries=3 with no backoff: released at once, three runs, one failed job', function (World $w): void {
    $uuid = $w->dispatch((new Throws())->with(['tries' => 3]));
    $w->work(['max-jobs' => 1]);
    $w->expectAttempts([1]);
    $w->expectQueue(ready: 1, attempts: 1);
    $w->expectEvents(['JobProcessing', 'JobExceptionOccurred', 'JobReleasedAfterException', 'JobAttempted', 'report']);
    $w->work();
    $w->expectAttempts([1, 2, 3], $uuid);
    $w->expectGone();
    $w->expectFailed(1, 'thrown on purpose', $uuid);
});

row(5, 'backoff 1, 5, 10 with tries=5: the last step repeats', function (World $w): void {
    $w->dispatch((new Throws())->with(['tries' => 5, 'backoff' => [1, 5, 10]]));
    foreach ([1, 5, 10, 10] as $run => $backoff) {
        $w->work(['max-jobs' => 1]);
        $released = $w->journal('event');
        $w->expectRuns($run + 1);
        $state = $w->backend->state();
        $job = $state->delayed[0] ?? $state->ready[0];
        $in = $job['due'] - (int) end($released)['t'];
        $w->expect(abs($in - $backoff) <= 1, "retry {$run} in {$backoff} s (it is {$in} s)");
        $w->makeDue();
    }
    $w->work(['max-jobs' => 1]);
    $w->expectAttempts([1, 2, 3, 4, 5]);
    $w->expectGone();
    $w->expectFailed(1);
});

row(6, 'no backoff on a job that was delayed: its delay is the backoff from 12.11 on, the worker\'s before', function (World $w): void {
    $w->dispatch((new Throws())->with(['tries' => 3]), delay: 60);
    $w->expectQueue(delayed: 1);
    $w->makeDue();
    $w->work(['backoff' => 20]);
    $w->expectAttempts([1]);
    $w->expectQueue(delayed: 1, attempts: 1, dueIn: $w->laravelIs('12.11') ? 60 : 20);
});

row(7, 'the payload\'s maxTries goes before the worker\'s --tries', function (World $w): void {
    $none = $w->dispatch(new Throws());
    $own = $w->dispatch((new Throws())->with(['tries' => 5]));
    $w->work(['tries' => 2]);
    $w->expectRuns(2, $none);
    $w->expectRuns(5, $own);
    $w->expectGone();
    $w->expectFailed(2);
});

row(8, '--tries=0: never given up for its count, backoff kept', function (World $w): void {
    $w->dispatch(new Throws());
    for ($run = 1; $run <= 4; $run++) {
        $w->work(['tries' => 0, 'backoff' => '10,20']);
        $w->expectRuns($run);
        $w->expectQueue(delayed: 1, attempts: $run, dueIn: $run === 1 ? 10 : 20);
        $w->makeDue();
    }
    $w->expectFailed(0);
});

row(9, 'retryUntil is over when the job is taken: failed without a run', function (World $w): void {
    $uuid = $w->dispatch((new Plain())->with(['retryUntil' => time() - 10]));
    $w->work();
    $w->expectRuns(0);
    $w->expectGone();
    $w->expectFailed(1, 'MaxAttemptsExceededException', $uuid);
    $w->expectEvents(['JobProcessing', 'failed', 'JobFailed', 'JobExceptionOccurred', 'JobAttempted', 'report']);
});

row(10, 'retryUntil is to come, maxTries=1, throws: released', function (World $w): void {
    $w->dispatch((new Throws())->with(['tries' => 1, 'retryUntil' => time() + 600, 'backoff' => 40]));
    $w->work();
    $w->expectAttempts([1]);
    $w->expectQueue(delayed: 1, attempts: 1, dueIn: 40);
    $w->expectFailed(0);
});

row(11, 'maxExceptions=2 of tries=10: failed with the second', function (World $w): void {
    $uuid = $w->dispatch((new Throws())->with(['tries' => 10, 'maxExceptions' => 2]));
    $w->work(['max-jobs' => 1]);
    $w->expectSame(1, (int) $w->laravel['cache']->store()->get("job-exceptions:{$uuid}"), 'exceptions counted');
    $w->work();
    $w->expectAttempts([1, 2]);
    $w->expectGone();
    $w->expectFailed(1, 'thrown on purpose', $uuid);
    $w->expectSame(null, $w->laravel['cache']->store()->get("job-exceptions:{$uuid}"), 'the counter afterwards');
});

row(12, 'an exception that the handler says not to retry: failed with the first', function (World $w): void {
    $uuid = $w->dispatch((new Throws(exception: Hopeless::class))->with(['tries' => 5]));
    $w->work();
    $w->expectRuns(1);
    $w->expectGone();
    $w->expectFailed(1, 'Hopeless', $uuid);
}, since: '13.17');

row(13, 'attempts are past tries when the job is taken, as after crashes: failed without a run', function (World $w): void {
    $uuid = $w->dispatch((new Plain())->with(['tries' => 2]));
    $w->backend->setAttempts(2);
    $w->work();
    $w->expectRuns(0);
    $w->expectGone();
    $w->expectFailed(1, 'has been attempted too many times', $uuid);
});
