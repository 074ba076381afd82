<?php

/** Laravel's own commands for queues, beside the engine. */

declare(strict_types=1);

use App\Jobs\Alone;
use App\Jobs\FailsUntil;
use App\Jobs\Plain;
use App\Jobs\Throws;
use Illuminate\Queue\Events\QueueBusy;
use Kqueue\Tests\World;

/** One job at a time, so that others have to wait. */
$one = ['pool-size' => 1, 'pool-max-size' => 1, 'max-concurrent-inline' => 1, 'max-concurrent-pooled' => 1, 'max-concurrent-isolated' => 1];

row(73, 'queue:retry all: what has failed runs again, from its first attempt', function (World $w): void {
    $uuid = $w->dispatch((new Throws())->with(['tries' => 2]));
    $w->work();
    $w->expectFailed(1);
    $w->artisan('queue:retry', id: ['all']);
    $w->expectFailed(0);
    $w->expectQueue(ready: 1, attempts: 0);
    $w->work();
    $w->expectAttempts([1, 2, 1, 2], $uuid);
    $w->expectGone();
    $w->expectFailed(1, 'thrown on purpose', $uuid);
});

row(73, 'queue:retry of one uuid: its retryUntil is reckoned anew', function (World $w): void {
    $uuid = $w->dispatch(new FailsUntil('given up'));
    $other = $w->dispatch(new FailsUntil('given up'));
    $w->work();
    $w->expectFailed(2, 'given up');
    // As if it had failed long ago.
    $past = time() - 3600;
    $w->sandbox->database()->exec("update failed_jobs set payload = json_set(payload, '$.retryUntil', {$past})");
    $w->artisan('queue:retry', id: [$uuid]);
    $w->expectFailed(1, 'given up', $other);
    $w->expectQueue(ready: 1, attempts: 0);
    $until = json_decode($w->backend->state()->ready[0]['payload'], true)['retryUntil'];
    $w->expect(abs($until - time() - 600) <= 2, 'retryUntil is ten minutes from now');
    $w->work();
    // With the old one it would be failed without a run.
    $w->expectAttempts([1, 1], $uuid);
    $w->expectRuns(1, $other);
    $w->expectGone();
    $w->expectFailed(2, 'given up');
});

row(74, 'queue:clear while a job runs: it finishes, nothing comes back, and the engine goes on', function (World $w): void {
    $go = $w->sandbox->dir . '/go';
    $uuid = $w->dispatch(new Alone($go));
    $w->dispatch(new Plain(), delay: 60);
    $daemon = $w->start();
    $w->waitFor('start', uuid: $uuid);
    $w->artisan('queue:clear', ...['connection' => $w->sandbox->driver, '--force' => true]);
    $w->expectQueue();
    touch($go);
    $w->waitFor('end', uuid: $uuid);
    $next = $w->dispatch(new Plain());
    $w->waitFor('end', uuid: $next);
    $w->waitForQueue();
    $daemon->stop();
    $w->expectRuns(2);
    $w->expectGone();
    $w->expectFailed(0);
    $w->expectEvents(['JobProcessing', 'JobProcessed', 'JobAttempted'], $uuid);
});

row(74, 'queue:clear takes what waits for its turn', function (World $w) use ($one): void {
    $go = $w->sandbox->dir . '/go';
    $uuid = $w->dispatch(new Alone($go));
    $waiting = [$w->dispatch(new Plain()), $w->dispatch(new Plain())];
    $daemon = $w->start($one);
    $w->waitFor('start', uuid: $uuid);
    $w->artisan('queue:clear', ...['connection' => $w->sandbox->driver, '--force' => true]);
    touch($go);
    $last = $w->dispatch(new Plain());
    $w->waitFor('end', uuid: $last);
    $w->waitForQueue();
    $daemon->stop();
    $runs = array_map(fn (string $uuid): int => count($w->journal('start', $uuid)), $waiting);
    $w->differs(
        'what kqueue has reserved and what waits for its tier may still run: it hears that it was cleared when it renews the leases',
        stock: fn () => $w->expectSame([0, 0], $runs, 'runs of what was cleared'),
        kqueue: fn () => $w->expect(max($runs) <= 1, 'none runs twice'),
    );
    $w->expectGone();
    $w->expectFailed(0);
});

row(75, 'queue:monitor under load counts what waits, what is delayed and what runs', function (World $w) use ($one): void {
    $sizes = [];
    $w->laravel['events']->listen(QueueBusy::class, static function (QueueBusy $event) use (&$sizes): void {
        $sizes[] = $event->size;
    });
    $monitor = static fn () => $w->artisan('queue:monitor', ...['queues' => $w->sandbox->driver . ':default', '--max' => 1]);
    $go = $w->sandbox->dir . '/go';
    $uuid = $w->dispatch(new Alone($go));
    $w->dispatch(new Plain());
    $w->dispatch(new Plain());
    $w->dispatch(new Plain(), delay: 600);
    $monitor();
    $daemon = $w->start($one);
    $w->waitFor('start', uuid: $uuid);
    $monitor();
    touch($go);
    $w->waitForQueue(delayed: 1);
    $monitor();
    $daemon->stop();
    $w->expectSame([4, 4, 1], $sizes, 'sizes: before, while one runs, and afterwards');
    $w->expectRuns(3);
    // When it is due says nothing about when the others ended.
    $w->makeDue();
    $w->work();
    $w->expectGone();
});
