<?php

/** Signals, and what they are sent for: to stop, and to go on with new code. */

declare(strict_types=1);

use App\Jobs\Deployed;
use App\Jobs\Plain;
use App\Jobs\Sleeps;
use App\Jobs\Stoppable;
use Kqueue\Tests\Files;
use Kqueue\Tests\Processes;
use Kqueue\Tests\Wait;
use Kqueue\Tests\World;

row(82, 'SIGTERM while idle: it ends at once, as planned', function (World $w): void {
    $w->dispatch(new Plain());
    $daemon = $w->start();
    $w->waitFor('end');
    $w->waitForQueue();
    $w->expectSame(0, $daemon->stop(), 'exit status');
    $w->expectSame([], Processes::of($w->sandbox->dir), 'processes left behind');
    $w->expectRuns(1);
    $w->expectGone();
});

foreach (['SIGTERM' => '8.0', 'SIGQUIT' => '9.0', 'SIGINT' => '12.22'] as $name => $since) {
    row(82, "{$name} while a job runs: that one finishes, the next one stays", function (World $w) use ($name, $since): void {
        $uuid = $w->dispatch((new Sleeps(700))->with(['tries' => 1]));
        $daemon = $w->start();
        $w->waitFor('start', uuid: $uuid);
        $daemon->signal(constant($name));
        $finishes = function (int $status) use ($w, $uuid): void {
            $w->expectSame(0, $status, 'exit status');
            $w->expectSame(1, count($w->journal('end', $uuid)), 'ends');
            $w->expectQueue(ready: 1);
        };
        $w->dispatch(new Plain());
        $status = $daemon->wait();
        $w->laravelIs($since) ? $finishes($status) : $w->differs(
            "this version's worker does not know {$name} and dies; kqueue knows it",
            stock: function () use ($w, $status, $name): void {
                $w->expectSame(128 + constant($name), $status, 'exit status');
                $w->expectSame([], $w->journal('end'), 'ends');
                $w->expectQueue(ready: 1, reserved: 1);
            },
            kqueue: fn () => $finishes($status),
        );
        $w->expectFailed(0);
    });
}

row(82, 'SIGTERM to a PHP process of kqueue\'s: its job finishes, and another process takes the next', function (World $w): void {
    $uuid = $w->dispatch((new Sleeps(500))->with(['tries' => 1]));
    $daemon = $w->start();
    $pid = $w->waitFor('start', uuid: $uuid)[0]['pid'];
    Processes::kill(SIGTERM, $pid);
    $w->waitFor('end', uuid: $uuid);
    Wait::until(static fn (): bool => ! Processes::runs($pid), 'the process to end');
    $next = $w->dispatch(new Plain());
    $w->expect($w->waitFor('end', uuid: $next)[0]['pid'] !== $pid, 'another process runs the next job');
    $w->waitForQueue();
    $w->expectAttempts([1], $uuid);
    $w->expectAttempts([1], $next);
    $w->expectSame(0, $daemon->stop(), 'exit status');
    $w->expectFailed(0);
}, engines: ['kqueue']);

row(83, 'a job that can be interrupted is told of the SIGTERM, and may end early', function (World $w): void {
    $uuid = $w->dispatch((new Stoppable())->with(['tries' => 1]));
    $daemon = $w->start();
    $w->waitFor('start', uuid: $uuid);
    $daemon->signal(SIGTERM);
    $w->waitFor('interrupted');
    $w->expectSame(0, $daemon->wait(), 'exit status');
    $w->expectSame([SIGTERM], array_column($w->journal('interrupted'), 'signal'), 'what it was told');
    $w->expectSame(1, count($w->journal('end', $uuid)), 'ends');
    $w->expectGone();
    $w->expectFailed(0);
}, since: '13.7');

/** The app as a deploy lays it out: releases that share what is to last, and a link to the one that counts. */
$releases = static function (World $w): Closure {
    $old = $w->sandbox->app;
    $new = $w->sandbox->dir . '/new';
    exec('cp -a ' . escapeshellarg($old) . ' ' . escapeshellarg($new));
    foreach (['database', 'storage'] as $shared) {
        Files::remove("{$new}/{$shared}");
        symlink("{$old}/{$shared}", "{$new}/{$shared}");
    }
    unlink("{$new}/journal.jsonl");
    symlink("{$old}/journal.jsonl", "{$new}/journal.jsonl");
    foreach (['Release', 'ReleaseLater'] as $class) {
        $code = file_get_contents("{$new}/app/{$class}.php");
        file_put_contents("{$new}/app/{$class}.php", str_replace("'old'", "'new'", $code));
    }
    $link = $w->sandbox->dir . '/current';
    symlink($old, $link);

    return static function () use ($link, $new): void {
        symlink($new, "{$link}.next");
        rename("{$link}.next", $link);
    };
};

/** @param Closure(World, \Kqueue\Tests\Daemon): void $tell says that there is a new release */
$deploy = static function (World $w, Closure $tell) use ($releases): void {
    $switch = $releases($w);
    $gate = $w->sandbox->dir . '/gate';
    $path = ['path' => $w->sandbox->dir . '/current'];
    $runs = $w->dispatch(new Deployed($gate));
    $daemon = $w->start($path);
    $w->waitFor('start', uuid: $runs);
    $switch();
    $tell($w, $daemon);
    $next = $w->dispatch(new Deployed());
    $release = static fn (string $uuid): array => array_map(
        static fn (array $fact): array => [$fact['first'], $fact['later'], $fact['base']],
        $w->journal('release', $uuid),
    );
    $w->differs(
        'stock finishes its job, ends, and needs a process manager to come back; kqueue goes on with new code beside the job that runs',
        stock: function () use ($w, $daemon, $gate, $path): void {
            touch($gate);
            $w->expectSame(0, $daemon->wait(), 'exit status');
            $w->work($path);
        },
        kqueue: function () use ($w, $daemon, $gate, $next): void {
            $w->waitFor('end', uuid: $next);
            $w->expectSame([$next], array_column($w->journal('release'), 'uuid'), 'who is done while the other one runs');
            touch($gate);
            $w->waitFor('end', 2);
            $w->waitForQueue();
            $w->expectSame(0, $daemon->stop(), 'exit status');
        },
    );
    $w->expectSame([['old', 'old', 'app']], $release($runs), 'release on which the running job was all the time');
    $w->expectSame([['new', 'new', 'new']], $release($next), 'release on which the next job ran');
    $w->expectAttempts([1], $runs);
    $w->expectAttempts([1], $next);
    $w->expectGone();
    $w->expectFailed(0);
};

row(86, 'a new release behind the link, and queue:restart: the running job ends on the old code, the next one runs on the new', fn (World $w) => $deploy(
    $w,
    static fn (World $w) => $w->artisan('queue:restart'),
));

row(86, 'a new release behind the link, and kqueue reloaded: the running job ends on the old code, the next one runs on the new', fn (World $w) => $deploy(
    $w,
    static fn (World $w, Kqueue\Tests\Daemon $daemon) => $daemon->signal(SIGHUP),
), engines: ['kqueue']);
