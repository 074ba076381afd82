<?php

/** What operators do with kqueue's own commands: pauses, and failed jobs in bulk. */

declare(strict_types=1);

use App\Jobs\Fails;
use App\Jobs\FailsUntil;
use App\Jobs\Plain;
use Kqueue\Tests\Wait;
use Kqueue\Tests\World;

row('steer', 'kqueue pause holds over a restart, is told apart from queue:pause, and kqueue resume ends it', function (World $w): void {
    $daemon = $w->start(['queue' => 'default,other']);
    $w->waitForStatus('running');
    [$said, $code] = $w->kqueue('pause', '--queue', 'other');
    $w->expectSame([['paused queue other'], 0], [$said['said'] ?? $said, $code], 'what kqueue pause says');
    $held = $w->dispatch(new Plain(), 'other');
    $w->dispatch(new Plain());
    $w->waitFor('end');
    $w->expectRuns(0, $held);
    $daemon->stop();
    $w->start(['queue' => 'default,other']);
    $told = $w->waitForStatus('running', 0, static fn (array $told): bool => $told['waiting'] === 1);
    $w->expectSame('operator', $told['queues'][1]['paused_by']['by'], 'who has paused it');
    $w->expectContains('paused: other', $told['status'], 'the line');
    $w->dispatch(new Plain());
    $w->waitFor('end', 2);
    $w->expectRuns(0, $held);
    [$said, $code] = $w->kqueue('resume', '--queue', 'other');
    $w->expectSame([['resumed queue other'], 0], [$said['said'] ?? $said, $code], 'what kqueue resume says');
    $w->waitFor('end', uuid: $held);
    $w->expectAttempts([1], $held);
}, engines: ['kqueue']);

row('steer', 'kqueue pause of every queue: paused, with the command that ends it; one with a time ends by itself', function (World $w): void {
    $w->start();
    $w->waitForStatus('running');
    $w->kqueue('pause');
    $job = $w->dispatch(new Plain());
    $told = $w->waitForStatus('paused', 6, static fn (array $told): bool => $told['waiting'] === 1);
    $w->expectContains("1 job waits: kqueue resume {$told['app']}", $told['status'], 'the line');
    $w->kqueue('pause', '--for', '1s');
    $w->waitFor('end', uuid: $job);
    $w->waitForStatus('running');
    [$said, $code] = $w->kqueue('pause', '--queue', 'absent');
    $w->expectSame(1, $code, 'the exit code for a queue that is not there');
    $w->expectContains('no queue `absent` is worked here; there are: default', $said['state'], 'what is said of it');
}, engines: ['kqueue']);

row('steer', 'kqueue failed: jobs of one class are retried while the app works, each once, and others stay', function (World $w): void {
    $w->start();
    $w->dispatchMany(new FailsUntil('one of many'), 120);
    $w->dispatchMany(new Fails('another'), 3);
    // The record comes after the event.
    Wait::until(static fn (): bool => count($w->failed()) === 123, 'a record of 123 failed jobs', 40.0);
    [$told] = $w->kqueue('failed', '--as-root', 'app', 'list', '--class', 'FailsUntil', '--limit', '5');
    $w->expectSame([120, 5], [$told['matched'] ?? $told, count($told['jobs'] ?? [])], 'what is listed');
    $w->expectContains('one of many', $told['jobs'][0]['exception'], 'its exception');
    [$dry] = $w->kqueue('failed', '--as-root', 'app', 'retry', '--class', 'FailsUntil', '--dry-run');
    $w->expectSame([120, 0], [$dry['matched'], $dry['done']], 'what a dry run counts');
    [$said, $code] = $w->kqueue('failed', '--as-root', 'app', 'retry', '--class', 'FailsUntil', '--yes');
    $w->expectSame([120, 120, 0], [$said['matched'], $said['done'], $code], 'what is retried');
    $w->waitFor('failed', 243, 40.0);
    Wait::until(static fn (): bool => count($w->failed()) === 123, 'a record of as many again', 40.0);
    $failures = array_filter($w->journal('event'), static fn (array $fact): bool => $fact['event'] === 'JobFailed');
    $times = array_count_values(array_count_values(array_column($failures, 'uuid')));
    $w->expectSame([2 => 120, 1 => 3], $times, 'how many jobs failed how often');
    [$said, $code] = $w->kqueue('failed', '--as-root', 'app', 'forget', '--match', 'another', '--yes');
    $w->expectSame([3, 0], [$said['done'], $code], 'what is forgotten');
    $w->expectSame(120, count($w->failed()), 'what is left');
}, engines: ['kqueue']);
