<?php

/** Reservations: kept, lost, and over. */

declare(strict_types=1);

use App\Jobs\Sleeps;
use Kqueue\Tests\World;

row(56, 'a job more than twice as long as retry_after, with someone else on the queue', function (World $w): void {
    $uuid = $w->dispatch((new Sleeps(4500))->with(['tries' => 0]));
    $first = $w->start();
    $w->waitFor('start', uuid: $uuid);
    // Someone else on the same queue, who would take a job whose lease is over.
    $second = $w->start(['state-dir' => $w->sandbox->dir . '/state2', 'runtime-dir' => $w->sandbox->dir . '/run2']);
    $w->waitFor('end', uuid: $uuid);
    $w->differsWhereHeld(
        'kqueue renews the lease while the job\'s process lives',
        stock: function () use ($w, $uuid, $first, $second): void {
            $w->waitFor('start', 2, uuid: $uuid);
            $w->expectSame([1, 2], array_slice(array_column($w->journal('start', $uuid), 'attempts'), 0, 2), 'attempts');
            $w->leftToChance('how far the second run comes before its process is ended');
            // Left alone, it would come back again and again.
            $first->kill();
            $second->kill();
        },
        kqueue: function () use ($w, $uuid): void {
            $w->waitForQueue();
            $w->expectAttempts([1], $uuid);
            $w->expectGone();
        },
    );
    $first->stop();
    $second->stop();
    $w->expectFailed(0);
}, env: ['QUEUE_RETRY_AFTER' => 2], back: ['renew' => 'false']);

row(57, 'a lease lost while the job runs: no error, nothing comes back', function (World $w): void {
    $uuid = $w->dispatch((new Sleeps(700))->with(['tries' => 1]));
    $daemon = $w->start();
    $w->waitFor('start', uuid: $uuid);
    $w->waitForQueue(reserved: 1);
    $w->backend->dropLeases();
    $w->waitFor('event', 2, uuid: $uuid);
    $daemon->stop();
    $w->expectSame(1, count($w->journal('end', $uuid)), 'ends');
    $w->expectSame(0, count($w->journal('report')), 'reported exceptions');
    $w->expectGone();
    $w->expectFailed(0);
}, drivers: ['redis']);
