<?php

/** What is wrong from outside: said clearly, with nothing lost and nothing left behind. */

declare(strict_types=1);

use App\Jobs\HoldsText;
use App\Jobs\Plain;
use App\Jobs\Sleeps;
use Kqueue\Tests\Daemon;
use Kqueue\Tests\Processes;
use Kqueue\Tests\World;

/** Ends by itself, not with success, and says why. */
$refuses = static function (World $w, Daemon $daemon, string $why): void {
    $status = $daemon->wait();
    $w->expect($status !== 0 && $status < 128, "it ends with an error (it is {$status})");
    $w->expectContains($why, $daemon->output(), 'what it says');
    $w->expectSame([], Processes::of($w->sandbox->dir), 'processes left behind');
};

row('path', '--path to nowhere', function (World $w) use ($refuses): void {
    $command = $w->engine->command($w->sandbox, []);
    $command[array_search($w->sandbox->app, $command, true)] = '/nowhere';
    $refuses($w, new Daemon($command, $w->sandbox), '/nowhere');
}, drivers: ['redis'], engines: ['kqueue']);

row('env', 'a broken .env', function (World $w) use ($refuses): void {
    $w->dispatch(new Plain());
    file_put_contents($w->sandbox->app . '/.env', "\nTHIS IS NOT = an .env \"file\n", FILE_APPEND);
    $refuses($w, $w->start(), 'environment file');
    $w->expectQueue(ready: 1);
}, engines: ['kqueue']);

row('boot', 'an app that throws while it boots', function (World $w) use ($refuses): void {
    $w->dispatch(new Plain());
    touch($w->sandbox->app . '/broken-boot');
    $refuses($w, $w->start(), 'this app does not boot');
    $w->expectQueue(ready: 1);
}, engines: ['kqueue']);

row('deploy', 'an app that breaks under a running kqueue, and is mended: no job is failed for it', function (World $w): void {
    $w->dispatch(new Plain());
    $daemon = $w->start();
    $w->waitFor('end');
    $w->waitForQueue();
    touch($w->sandbox->app . '/broken-boot');
    $daemon->signal(SIGHUP);
    Kqueue\Tests\Wait::until(static fn (): bool => str_contains($daemon->output(), 'this app does not boot'), 'a word about it');
    $uuid = $w->dispatch(new Plain());
    $w->expect($daemon->runs(), 'kqueue is still there');
    unlink($w->sandbox->app . '/broken-boot');
    $w->waitFor('end', 1, 40.0, $uuid);
    $w->waitForQueue();
    $w->expectAttempts([1], $uuid);
    $w->expectFailed(0);
    $w->expectSame(0, $daemon->stop(), 'exit status');
}, engines: ['kqueue']);

row('down', 'Redis is down at the start: kqueue waits for it', function (World $w): void {
    $w->sandbox->redis->shutDown();
    $daemon = $w->start();
    // It has found out: the server's address is in what it says.
    Kqueue\Tests\Wait::until(static fn (): bool => str_contains($daemon->output(), (string) $w->sandbox->redis->port), 'a word about the server');
    $w->expect($daemon->runs(), 'kqueue is still there');
    $w->sandbox->redis->launch();
    $w->dispatch(new Plain());
    $w->waitFor('end');
    $w->waitForQueue();
    $w->expectRuns(1);
    $w->expectSame(0, $daemon->stop(), 'exit status');
}, drivers: ['redis'], engines: ['kqueue'], ownServer: true);

row('down', 'Redis goes away and comes back: kqueue works on', function (World $w): void {
    $w->dispatch(new Plain());
    $daemon = $w->start();
    $w->waitFor('end');
    $w->waitForQueue();
    $w->sandbox->redis->shutDown();
    $before = strlen($daemon->output());
    Kqueue\Tests\Wait::until(static fn (): bool => strlen($daemon->output()) > $before, 'a word about it');
    $w->expect($daemon->runs(), 'kqueue is still there');
    $w->sandbox->redis->launch();
    $w->redial();
    $uuid = $w->dispatch(new Plain());
    $w->waitFor('end', uuid: $uuid);
    $w->waitForQueue();
    $w->expectAttempts([1], $uuid);
    $w->expectSame(0, $daemon->stop(), 'exit status');
}, drivers: ['redis'], engines: ['kqueue'], ownServer: true);

row('garbage', 'rows and entries that are no jobs are set aside, and the next job runs', function (World $w): void {
    foreach (['', 'no json', '[]', '"text"', '{"uuid":"x"}', "\xff\xfe\x00", str_repeat('[', 2000)] as $garbage) {
        $w->pushRaw($garbage);
    }
    $uuid = $w->dispatch(new Plain());
    $daemon = $w->start();
    $w->waitFor('end', uuid: $uuid);
    $w->waitForQueue(broken: 7);
    $w->expect($daemon->runs(), 'kqueue is still there');
    $w->expectSame(0, $daemon->stop(), 'exit status');
    $w->expectRuns(1);
}, engines: ['kqueue']);

row('big', 'a payload of 20 MB arrives whole', function (World $w): void {
    $text = str_repeat(bin2hex(random_bytes(32)), 20 * (1 << 20) / 64);
    $uuid = $w->dispatch(new HoldsText($text));
    $w->work();
    $w->expectAttempts([1], $uuid);
    $w->expectSame(sha1($text), $w->journal('text')[0]['sha1'], 'hash of the text');
    $w->expectGone();
    $w->expectFailed(0);
}, engines: ['kqueue', 'stock']);

row('numbers', 'payload numbers that PHP dies of are set aside once, those that it takes run', function (World $w): void {
    foreach (['abc', '8abc', [], ['a' => 1], 1e19, '1e308', '8', ' 8 ', null, true, 0, -5] as $timeout) {
        $w->dispatch((new Plain())->with(['timeout' => $timeout]));
    }
    $daemon = $w->start();
    $w->waitForQueue(broken: 6);
    $w->expectSame(6, count($w->journal('end')), 'jobs that ran');
    $w->expectSame(6, substr_count($daemon->output(), 'not a valid number'), 'messages that were set aside');
    $w->expectSame(0, substr_count($daemon->output(), 'killing'), 'killed processes');
    $w->expectSame(0, $daemon->stop(), 'exit status');
}, engines: ['kqueue']);

row('key', 'a Redis key of the wrong type stops its own queue alone, and is told once', function (World $w): void {
    $w->backend->spoil('low');
    $daemon = $w->start(['queue' => 'low,default']);
    foreach ([1, 2, 3] as $_) {
        $uuid = $w->dispatch(new Plain());
        $w->waitFor('end', uuid: $uuid);
    }
    $w->expectSame(1, substr_count($daemon->output(), 'cannot be processed'), 'times it was told');
    $w->backend->unspoil('low');
    $uuid = $w->dispatch(new Plain(), 'low');
    $w->waitFor('end', uuid: $uuid);
    $w->expectSame(0, $daemon->stop(), 'exit status');
}, drivers: ['redis'], engines: ['kqueue'], ownServer: true);

row('refused', 'a password that is changed under a running kqueue is an outage: what runs goes on, and is settled', function (World $w): void {
    $uuid = $w->dispatch(new Sleeps(2500));
    $daemon = $w->start();
    $w->waitFor('start', uuid: $uuid);
    $admin = $w->sandbox->redis->client();
    $admin->config('SET', 'requirepass', 'other');
    $admin->auth('other');
    $admin->rawCommand('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    Kqueue\Tests\Wait::until(static fn (): bool => str_contains($daemon->output(), 'the queue refuses requests'), 'a word about it');
    $w->waitFor('end', uuid: $uuid);
    $w->expect($daemon->runs(), 'kqueue is still there');
    $w->expectSame(1, substr_count($daemon->output(), 'the queue refuses requests'), 'times it was told');
    $admin->config('SET', 'requirepass', '');
    $w->redial();
    $w->waitForQueue();
    $next = $w->dispatch(new Plain());
    $w->waitFor('end', uuid: $next);
    $w->waitForQueue();
    $w->expectAttempts([1], $uuid);
    $w->expectSame(0, $daemon->stop(), 'exit status');
}, drivers: ['redis'], engines: ['kqueue'], ownServer: true);

row('unreached', '--stop-when-empty ends where the queue cannot be reached at the start, with one line', function (World $w): void {
    $w->sandbox->redis->shutDown();
    $daemon = $w->start(['stop-when-empty' => true]);
    $w->expectSame(1, $daemon->wait(), 'exit status');
    $w->expectSame(1, substr_count($daemon->output(), (string) $w->sandbox->redis->port), 'times it was told');
}, drivers: ['redis'], engines: ['kqueue'], ownServer: true);

row('unreached', '--stop-when-empty ends where the queue refuses it later: what runs is finished and settled first', function (World $w): void {
    $uuid = $w->dispatch(new Sleeps(2500));
    $daemon = $w->start(['stop-when-empty' => true]);
    $w->waitFor('start', uuid: $uuid);
    $admin = $w->sandbox->redis->client();
    $admin->config('SET', 'requirepass', 'other');
    $admin->auth('other');
    $admin->rawCommand('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    Kqueue\Tests\Wait::until(static fn (): bool => str_contains($daemon->output(), 'waiting for the running jobs (1), then exiting'), 'a word about it');
    $admin->config('SET', 'requirepass', '');
    $w->redial();
    $w->expectSame(1, $daemon->wait(), 'exit status');
    $w->waitForQueue();
    $w->expectAttempts([1], $uuid);
}, drivers: ['redis'], engines: ['kqueue'], ownServer: true);
