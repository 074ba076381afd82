<?php

/** What jobs do to their own process: children, and streams that they close. */

declare(strict_types=1);

use App\Jobs\ClosesOutput;
use App\Jobs\Forks;
use App\Jobs\Plain;
use Kqueue\Tests\World;

foreach (['exits' => 'that calls exit()', 'fails' => 'that ends with a fatal error'] as $way => $what) {
    row('child', "a job forks a child {$what}: the job goes on, and ends well", function (World $w) use ($way): void {
        $uuid = $w->dispatch((new Forks($way))->with(['tries' => 1]));
        $next = $w->dispatch(new Plain());
        $w->work();
        $w->expectRuns(1, $uuid);
        $w->expectSame(1, count($w->journal('end', $uuid)), 'ends');
        $w->expectRuns(1, $next);
        $w->expectGone();
        $w->expectFailed(0);
    });
}

foreach (['throws' => 'throws', 'returns' => 'comes back out of the job'] as $way => $what) {
    row('child', "a job forks a child that {$what}: the child takes no job, and says nothing in its parent's name", function (World $w) use ($way): void {
        $uuid = $w->dispatch((new Forks($way))->with(['tries' => 2]));
        $next = $w->dispatch(new Plain());
        $w->work();
        $w->expectRuns(1, $next);
        $w->expectGone();
        $w->expect(count($w->journal('end', $uuid)) >= 1, 'the job has ended');
    }, engines: ['kqueue']);
}

foreach ([false, true] as $transaction) {
    $title = 'a job closes STDOUT and STDERR' . ($transaction ? ' and leaves a transaction open' : '');
    row('streams', "{$title}: it is done, and those behind it run", function (World $w) use ($transaction): void {
        $uuid = $w->dispatch((new ClosesOutput($transaction))->with(['tries' => 1]));
        $next = $w->dispatch(new Plain());
        // One at a time: who else would write to SQLite meanwhile waits for the transaction's end.
        $w->work(['max-concurrent-inline' => 1, 'pool-size' => 1, 'pool-max-size' => 1]);
        $w->expectRuns(1, $uuid);
        $w->expectRuns(1, $next);
        $w->expectGone();
        $w->expectFailed(0);
        // Where the queue is in that database, the transaction takes the removal of the job with it.
    }, drivers: $transaction ? ['redis'] : ['redis', 'database'], engines: ['kqueue']);
}
