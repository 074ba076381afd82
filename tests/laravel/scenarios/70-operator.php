<?php

/** What an operator does to a queue that is being worked. */

declare(strict_types=1);

use App\Jobs\KeepsMemory;
use App\Jobs\Plain;
use App\Jobs\Sleeps;
use Kqueue\Tests\Processes;
use Kqueue\Tests\Wait;
use Kqueue\Tests\World;

row(70, 'queue:restart while idle: new PHP for the next job', function (World $w): void {
    $w->dispatch(new Plain());
    $daemon = $w->start();
    $old = $w->waitFor('end')[0]['pid'];
    $w->waitForQueue();
    $w->artisan('queue:restart');
    $w->differs(
        'stock needs a process manager to come back; kqueue replaces its PHP and stays',
        stock: function () use ($w, $daemon): void {
            $w->expectSame(0, $daemon->wait(), 'exit status');
            $w->start();
        },
        kqueue: fn () => Wait::until(fn (): bool => ! Processes::runs($old), 'the old PHP process to end'),
    );
    $w->dispatch(new Plain());
    $runs = $w->waitFor('end', 2);
    $w->expect($runs[1]['pid'] !== $old, 'another PHP process runs the next job');
    $w->expect($w->actsAsStock() || $daemon->runs(), 'kqueue is still there');
});

row(70, 'queue:restart while a job runs: the job finishes first', function (World $w): void {
    $uuid = $w->dispatch(new Sleeps(700));
    $daemon = $w->start();
    $old = $w->waitFor('start', uuid: $uuid)[0]['pid'];
    $w->artisan('queue:restart');
    $w->waitFor('end', uuid: $uuid);
    $w->differs(
        'stock needs a process manager to come back; kqueue replaces its PHP and stays',
        stock: function () use ($w, $daemon): void {
            $w->expectSame(0, $daemon->wait(), 'exit status');
            $w->start();
        },
        kqueue: fn () => Wait::until(fn (): bool => ! Processes::runs($old), 'the old PHP process to end'),
    );
    $next = $w->dispatch(new Plain());
    $w->expect($w->waitFor('end', uuid: $next)[0]['pid'] !== $old, 'another PHP process runs the next job');
    $w->expectAttempts([1], $uuid);
});

row(71, 'queue:pause holds the queue, queue:resume lets it go, with no restart', function (World $w): void {
    $queue = $w->sandbox->driver . ':default';
    $w->dispatch(new Plain());
    $daemon = $w->start();
    $w->waitFor('end');
    $w->artisan('queue:pause', queue: $queue);
    $held = $w->dispatchHeld();
    $w->artisan('queue:resume', queue: $queue);
    $w->waitFor('end', uuid: $held);
    $w->expect($daemon->runs(), 'the engine is the same');
}, since: '12.40');

row(72, 'artisan down holds the queue, up lets it go', function (World $w): void {
    $w->dispatch(new Plain());
    $daemon = $w->start();
    $w->waitFor('end');
    $w->artisan('down');
    $held = $w->dispatchHeld();
    $w->artisan('up');
    $w->waitFor('end', uuid: $held);
    $w->expect($daemon->runs(), 'the engine is the same');
});

row(72, '--force works the queue in maintenance mode', function (World $w): void {
    $w->artisan('down');
    $w->dispatch(new Plain());
    $daemon = $w->start(['force' => true]);
    $w->waitFor('end');
    $daemon->stop();
    $w->expectRuns(1);
});

row(84, '--max-jobs: ends after so many, as planned', function (World $w): void {
    for ($i = 0; $i < 5; $i++) {
        $w->dispatch(new Plain());
    }
    $w->expectSame(0, $w->start(['max-jobs' => 3])->wait(), 'exit status');
    $w->expectRuns(3);
    $w->expectQueue(ready: 2);
    $w->expectFailed(0);
});

row(84, '--max-time: ends when it is over, as planned', function (World $w): void {
    $w->dispatch(new Plain());
    // Long enough for a busy machine to come to the job.
    $daemon = $w->start(['max-time' => 4]);
    $w->waitFor('end');
    $w->expectSame(0, $daemon->wait(), 'exit status');
    $w->expectRuns(1);
    $w->expectGone();
});

// An isolated process ends after its one job anyway.
row(84, '--memory: PHP is replaced after the job that went past it', function (World $w): void {
    $first = $w->dispatch(new KeepsMemory(48));
    $second = $w->dispatch(new Plain());
    $w->work(['memory' => 40]);
    $w->expectAttempts([1], $first);
    $w->expectAttempts([1], $second);
    $pids = array_column($w->journal('start'), 'pid', 'uuid');
    $w->expect($pids[$first] !== $pids[$second], 'another PHP process runs the second job');
    $w->expectGone();
    $w->expectFailed(0);
    $stops = array_column(array_filter($w->journal('event'), fn (array $fact): bool => $fact['event'] === 'WorkerStopping'), 'status', 'pid');
    $w->expectSame(12, $stops[$pids[$first]] ?? null, 'status with which the first process stopped');
}, tiers: false);
