<?php

/** Native pop: kqueue's workers take jobs off the queue by themselves, and the runtime says when. */

declare(strict_types=1);

use App\Jobs\KillsItself;
use App\Jobs\Plain;
use App\Jobs\Sleeps;
use App\Jobs\Waits;
use Kqueue\Tests\Processes;
use Kqueue\Tests\Wait;
use Kqueue\Tests\World;

$native = ['beanstalkd', 'own'];

row('native', 'stopped while a job runs: that one finishes, and nothing is counted of what waits', function (World $w): void {
    $go = $w->sandbox->dir . '/go';
    $uuid = $w->dispatch(new Waits($go, ''));
    for ($i = 0; $i < 5; $i++) {
        $w->dispatch(new Plain());
    }
    $daemon = $w->start(['pool-size' => 1, 'pool-max-size' => 1]);
    $w->waitFor('start', uuid: $uuid);
    $daemon->signal(SIGTERM);
    touch($go);
    $w->expectSame(0, $daemon->wait(), 'exit status');
    $w->expectAttempts([1], $uuid);
    $w->expectSame(1, count($w->journal('end')), 'ends');
    $w->expectQueue(ready: 5, attempts: 0);
}, drivers: $native, tiers: false);

row('native', 'at once run as many as may, however many workers there are', function (World $w): void {
    $go = $w->sandbox->dir . '/go';
    for ($i = 0; $i < 6; $i++) {
        $w->dispatch(new Waits($go, ''));
    }
    $daemon = $w->start(['pool-min-idle' => 3, 'pool-size' => 4, 'max-concurrent-pooled' => 2]);
    $w->waitFor('start', 2);
    // As often as it is asked, it has taken no more.
    $w->waitForStatus('running', fits: static fn (array $status): bool => count($status['workers']) >= 3 && $status['running'] === 2);
    $w->expectSame([4, 2], [count($w->backend->state()->ready), count($w->backend->state()->reserved)], 'waiting, and taken');
    touch($go);
    $w->waitFor('end', 6);
    $w->waitForQueue();
    $w->expectSame(0, $daemon->stop(), 'exit status');
    $w->expectFailed(0);
}, drivers: $native, engines: ['kqueue'], tiers: false);

row('native', 'a job that is found is started at once, and its record has what any other has', function (World $w): void {
    $daemon = $w->start();
    $w->waitFor('end', uuid: $w->dispatch(new Plain()));
    $uuid = $w->dispatch((new Sleeps(700))->with(['tries' => 3]));
    $w->waitFor('start', uuid: $uuid);
    $status = $w->waitForStatus('running', fits: static fn (array $status): bool => $status['running'] === 1);
    $running = array_merge(...array_column($status['tiers'], 'running_jobs'))[0];
    $w->expectSame([$uuid, Sleeps::class, 'default', 1], [$running['uuid'], $running['class'], $running['queue'], $running['attempt']], 'what status says of it');
    $w->waitFor('end', uuid: $uuid);
    $w->waitForQueue();
    $w->expectSame(0, $daemon->stop(), 'exit status');
    $w->expectSame(['pooled'], $w->tiers(Sleeps::class), 'tiers');
}, drivers: $native, engines: ['kqueue'], tiers: false);

row('native', 'a worker that is killed while it runs a job: said with its cause, and the job comes back', function (World $w): void {
    $uuid = $w->dispatch((new Sleeps(60_000))->with(['tries' => 1]));
    $daemon = $w->start();
    Processes::kill(SIGKILL, $w->waitFor('start', uuid: $uuid)[0]['pid']);
    Wait::until(static fn (): bool => str_contains($daemon->output(), 'killed by SIGKILL'), 'the cause to be said');
    $w->sandbox->driver === 'own' && $w->expireLeases();
    Wait::until(static fn (): bool => $w->failed() !== [], 'the job to be failed');
    $w->waitForQueue();
    $w->expectSame(0, $daemon->stop(), 'exit status');
    $w->expectAttempts([1], $uuid);
    $w->expectFailed(1, 'MaxAttemptsExceeded', $uuid);
}, drivers: $native, engines: ['kqueue'], tiers: false);

row('native', 'a worker that is killed while it looks, or stands still there, loses nothing and holds nobody up', function (World $w): void {
    touch($w->sandbox->app . '/slow-queue');
    $daemon = $w->start();
    $uuid = $w->dispatch(new Plain());
    Processes::kill(SIGKILL, $w->waitFor('looks')[0]['pid']);
    // The next one looks in its stead, and is told to stop while it does.
    $w->waitFor('looks', 2);
    $daemon->signal(SIGTERM);
    unlink($w->sandbox->app . '/slow-queue');
    $w->expectSame(0, $daemon->wait(20.0), 'exit status');
    // What it found then, it ran: that is how stock does it.
    $w->work();
    $w->expectAttempts([1], $uuid);
    $w->expectGone();
    $w->expectFailed(0);
}, drivers: ['own'], engines: ['kqueue'], tiers: false);

foreach (['the queue is away', 'server has gone away'] as $fault) {
    row('native', "a queue that fails (`{$fault}`): said once, asked ever more rarely, and worked when it answers again", function (World $w) use ($fault): void {
        $daemon = $w->start();
        $w->waitFor('end', uuid: $w->dispatch(new Plain()));
        file_put_contents($w->sandbox->app . '/broken-queue', $fault);
        $uuid = $w->dispatch(new Plain());
        $w->waitFor('report', 3);
        $status = $w->waitForStatus('degraded', 5);
        $w->expectContains($fault, $status['reason'], 'the reason');
        unlink($w->sandbox->app . '/broken-queue');
        $w->waitFor('end', uuid: $uuid);
        $w->waitForQueue();
        $w->waitForStatus('running');
        $w->expectSame(0, $daemon->stop(), 'exit status');
        $w->expectSame(1, substr_count($daemon->output(), "the queue does not answer: connection own: RuntimeException: {$fault}"), 'times that it is said');
        $w->expectContains('the queue answers again', $daemon->output(), 'what is said in the end');
        $w->expectAttempts([1], $uuid);
        $w->expectFailed(0);
    }, drivers: ['own'], engines: ['kqueue'], tiers: false);
}

row('beanstalkd', 'a process that dies under its job: back in its tube at once, and failed when it is taken again', function (World $w): void {
    $uuid = $w->dispatch((new KillsItself(SIGKILL))->with(['tries' => 1]));
    $next = $w->dispatch(new Plain());
    $w->work();
    $w->expectAttempts([1], $uuid);
    $w->expectRuns(1, $next);
    $w->expectFailed(1, 'MaxAttemptsExceeded', $uuid);
    $w->expectGone();
}, drivers: ['beanstalkd'], tiers: false);

row('beanstalkd', 'the server is restarted: what was queued is there again, and is run once', function (World $w): void {
    $daemon = $w->start();
    $w->waitFor('end', uuid: $w->dispatch(new Plain()));
    $w->waitForQueue();
    $w->sandbox->server->shutDown();
    Wait::until(static fn (): bool => str_contains($daemon->output(), 'the queue does not answer'), 'the outage to be said', 20.0);
    $w->sandbox->server->launch();
    $w->laravel->forgetInstance('queue');
    $uuid = $w->dispatch(new Plain());
    $w->waitFor('end', 1, 40.0, $uuid);
    $w->waitForQueue();
    $w->expectSame(0, $daemon->stop(), 'exit status');
    $w->expectAttempts([1], $uuid);
    $w->expectSame(1, substr_count($daemon->output(), 'the queue does not answer'), 'times that it is said');
}, drivers: ['beanstalkd'], engines: ['kqueue'], tiers: false);
