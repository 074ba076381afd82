<?php

/** Jobs that run too long, and processes that die under their job. */

declare(strict_types=1);

use App\Jobs\Blocks;
use App\Jobs\EatsMemory;
use App\Jobs\Exits;
use App\Jobs\KillsItself;
use App\Jobs\Loops;
use App\Jobs\Plain;
use App\Jobs\Sleeps;
use App\Jobs\Throws;
use Kqueue\Tests\Processes;
use Kqueue\Tests\Wait;
use Kqueue\Tests\World;

$crash = ['crash' => 'laravel'];

row(43, 'timeout=1, busy loop, tries=1: failed as timed out, and the next job runs', function (World $w): void {
    $uuid = $w->dispatch((new Loops())->with(['timeout' => 1, 'tries' => 1]));
    $next = $w->dispatch(new Plain());
    $w->work();
    $w->expectRuns(1, $uuid);
    $w->expectRuns(1, $next);
    $w->expectGone();
    $w->expectFailed(1, $w->timeoutException(), $uuid);
    $w->expectSame(1, count($w->journal('failed')), 'calls of failed()');
});

row(44, 'timeout=1, tries=3, backoff=30: the attempt counts, and the job runs again', function (World $w): void {
    $uuid = $w->dispatch((new Loops())->with(['timeout' => 1, 'tries' => 3, 'backoff' => 30]));
    foreach ([1, 2] as $attempt) {
        $w->work();
        $w->expectAttempts(range(1, $attempt), $uuid);
        $w->expectFailed(0);
        $w->differsWhereHeld(
            'a job whose process has ended is not left for retry_after: it is released with its backoff',
            stock: function () use ($w, $attempt): void {
                $w->expectQueue(reserved: 1, attempts: $attempt);
                $w->expireLeases();
            },
            kqueue: function () use ($w, $attempt): void {
                // The backoff begins with the end of the job, a second after it was last heard of.
                $w->expectQueue(delayed: 1, attempts: $attempt, dueIn: 31);
                $w->makeDue();
            },
        );
    }
    $w->work();
    $w->expectAttempts([1, 2, 3], $uuid);
    $w->expectGone();
    $w->expectFailed(1, $w->timeoutException(), $uuid);
}, back: $crash);

row(45, 'failOnTimeout, tries=3: failed at once', function (World $w): void {
    $uuid = $w->dispatch((new Loops())->with(['timeout' => 1, 'tries' => 3, 'failOnTimeout' => true]));
    $w->work();
    $w->expectAttempts([1]);
    $w->expectGone();
    $w->expectFailed(1, $w->timeoutException(), $uuid);
});

row(46, 'timeout=1 while blocked in C, where PHP\'s own alarm cannot fire', function (World $w): void {
    $lock = new PDO('sqlite:' . $w->sandbox->dir . '/lock.sqlite');
    $lock->exec('begin immediate');
    $uuid = $w->dispatch((new Blocks($w->sandbox->dir . '/lock.sqlite'))->with(['timeout' => 1, 'tries' => 1]));
    $daemon = $w->start();
    $start = $w->waitFor('start', uuid: $uuid)[0];
    $w->differs(
        'stock waits for as long as the call takes; kqueue ends the process from outside',
        stock: function () use ($w, $start, $lock, $daemon): void {
            // Its time is long up, and it still sits there: nothing happens until the call returns.
            while (microtime(true) < $start['t'] + 1.5) {
                $w->expect($daemon->runs(), 'the worker hangs on');
                usleep(20000);
            }
            $w->expectFailed(0);
            $lock->exec('rollback');
            $w->expectSame(128 + SIGKILL, $daemon->wait(), 'the worker kills itself then');
        },
        kqueue: function () use ($w, $daemon): void {
            // The lock is held all the while.
            $w->waitFor('failed', 1, 8.0);
            $w->waitForQueue();
            $daemon->stop();
        },
        native: function () use ($w, $start, $lock, $daemon): void {
            Wait::until(static fn (): bool => ! posix_kill($start['pid'], 0), 'the process to be ended', 8.0);
            $lock->exec('rollback');
            // From beanstalkd it has come back already.
            $w->isInDatabase() && $w->expireLeases();
            Wait::until(static fn (): bool => $w->failed() !== [], 'the job to be failed', 20.0);
            $daemon->stop();
        },
    );
    $w->expectRuns(1);
    $w->expectGone();
    $w->expectFailed(1, $w->isNative() ? 'MaxAttemptsExceeded' : $w->timeoutException(), $uuid);
});

row(47, 'no pcntl: the timeout', function (World $w): void {
    $uuid = $w->dispatch((new Loops(4))->with(['timeout' => 1, 'tries' => 1]));
    $w->work(['php' => $w->phpWithoutPcntl()]);
    $w->expectRuns(1);
    $w->expectGone();
    $w->differs(
        'stock knows no timeout without pcntl; kqueue keeps it from outside',
        stock: function () use ($w): void {
            $w->expectSame(1, count($w->journal('end')), 'ends');
            $w->expectFailed(0);
        },
        kqueue: function () use ($w, $uuid): void {
            $w->expectSame(0, count($w->journal('end')), 'ends');
            $w->expectFailed(1, $w->timeoutException(), $uuid);
        },
    );
});

row(47, 'no pcntl: SIGTERM', function (World $w): void {
    $w->dispatch((new Sleeps(1000))->with(['tries' => 1]));
    $daemon = $w->start(['php' => $w->phpWithoutPcntl()]);
    $w->waitFor('start');
    $status = $daemon->stop();
    $w->differs(
        'stock dies in the middle of its job; kqueue lets it finish',
        stock: function () use ($w, $status): void {
            $w->expectSame(128 + SIGTERM, $status, 'exit status');
            $w->expectSame(0, count($w->journal('end')), 'ends');
            $w->expectQueue(reserved: 1, attempts: 1);
        },
        kqueue: function () use ($w, $status): void {
            $w->expectSame(0, $status, 'exit status');
            $w->expectSame(1, count($w->journal('end')), 'ends');
            $w->expectGone();
        },
    );
});

/** A process that dies under a job with one try: the job's end depends on the engine, and on nothing else. */
$dies = static function (World $w, object $job, string $cause): void {
    $uuid = $w->dispatch($job->with(['tries' => 1]));
    $w->work();
    $w->expectAttempts([1], $uuid);
    $w->differsWhereHeld(
        'a crash is replayed at once, with its cause',
        stock: function () use ($w, $uuid): void {
            $w->expectQueue(reserved: 1, attempts: 1);
            $w->expectFailed(0);
            $w->expireLeases();
            $w->work();
            $w->expectRuns(1);
            $w->expectGone();
            $w->expectFailed(1, 'MaxAttemptsExceededException', $uuid);
        },
        kqueue: function () use ($w, $uuid, $cause): void {
            $w->expectGone();
            $w->expectFailed(1, $cause, $uuid);
            $w->expectSame(1, count($w->journal('failed')), 'calls of failed()');
        },
    );
};

row(48, 'exit(0) in a job, tries=1', fn (World $w) => $dies($w, new Exits(0), 'exit'), back: $crash);
row(48, 'exit(3) in a job, tries=1', fn (World $w) => $dies($w, new Exits(3), 'exit'), back: $crash);
row(51, 'segmentation fault in a job, tries=1', fn (World $w) => $dies($w, new KillsItself(SIGSEGV), 'SIGSEGV'), back: $crash);
row(51, 'SIGKILL from somewhere, tries=1', fn (World $w) => $dies($w, new KillsItself(SIGKILL), 'SIGKILL'), back: $crash);

row('killed', 'SIGKILL from outside: whoever follows jobs by an id in their payload hears that it began, and failed, in one process', function (World $w): void {
    $uuid = $w->dispatch((new Sleeps(600_000))->with(['tries' => 1]));
    $daemon = $w->start();
    $start = $w->waitFor('start', uuid: $uuid)[0];
    Processes::kill(SIGKILL, $start['pid']);
    $w->waitFor('failed');
    $w->waitForQueue();
    $daemon->stop();
    $w->expectFailed(1, 'SIGKILL', $uuid);
    // What the process that died had collected is gone with it.
    $stored = array_values(array_filter($w->journal('stored'), static fn (array $entry): bool => ($entry['watched'] ?? null) === "watched-{$uuid}"));
    $heard = array_values(array_intersect(array_column($stored, 'event'), ['JobProcessing', 'JobFailed']));
    $w->expectSame(['JobProcessing', 'JobFailed'], $heard, 'events that the listener has stored');
    $w->expectSame(1, count(array_unique(array_column($stored, 'pid'))), 'processes that stored them');
}, drivers: ['redis'], engines: ['kqueue'], env: ['WATCHED' => 'true']);

row('report', 'an exception handler that throws itself: what is written down, and said, is the job\'s own exception', function (World $w): void {
    $uuid = $w->dispatch((new Throws())->with(['tries' => 1]));
    $next = $w->dispatch(new Plain());
    $w->work();
    $w->expectRuns(1, $uuid);
    $w->expectRuns(1, $next);
    $w->expectGone();
    $w->expectFailed(1, 'RuntimeException: thrown on purpose', $uuid);
    $w->expect(preg_match('/App.Jobs.Throws.*thrown on purpose/', $w->output()) === 1, 'the log names the exception');
}, drivers: ['redis'], engines: ['kqueue'], env: ['REPORT_THROWS' => 'true']);

row(49, 'memory_limit reached, tries=3, backoff=30', function (World $w): void {
    $uuid = $w->dispatch((new EatsMemory(200, limit: 16))->with(['tries' => 3, 'backoff' => 30]));
    $w->work();
    $w->expectAttempts([1], $uuid);
    $w->expectFailed(0);
    $w->expectContains('Allowed memory size', implode(' ', array_column($w->journal('report'), 'message')), 'what was reported');
    $w->differsWhereHeld(
        'a crash is replayed at once: released with its backoff, not left for retry_after',
        stock: fn () => $w->expectQueue(reserved: 1, attempts: 1),
        kqueue: fn () => $w->expectQueue(delayed: 1, attempts: 1, dueIn: 30),
    );
}, back: $crash);

row(50, 'killed by the kernel for its cgroup\'s memory', static function (): void {
}, later: 'needs a cgroup with a memory limit: the virtual machine');

row(53, 'PHP dies between the hand-over of a job and its start: run once, one attempt', function (World $w): void {
    $first = $w->dispatch(new Plain());
    $daemon = $w->start();
    $w->waitFor('end', uuid: $first);
    $w->waitForQueue();
    // Every PHP process stands still, so that none can read what it is sent.
    $php = $daemon->php();
    Processes::kill(SIGSTOP, ...$php);
    $uuid = $w->dispatch((new Plain())->with(['tries' => 1]));
    $w->waitForQueue(reserved: 1);
    Processes::kill(SIGKILL, ...$php);
    $w->waitFor('end', uuid: $uuid);
    $w->waitForQueue();
    $w->expectAttempts([1], $uuid);
    $w->expectFailed(0);
    $daemon->stop();
}, engines: ['kqueue']);
