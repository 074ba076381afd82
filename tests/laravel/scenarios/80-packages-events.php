<?php

/**
 * What packages that watch a queue need of the worker. Horizon, Telescope, Pulse, Sentry and Nightwatch are no packages of
 * Debian's: a queue with Horizon's names and override points, and listeners that do what these do, stand in for them.
 */

declare(strict_types=1);

use App\Jobs\KillsItself;
use App\Jobs\Plain;
use App\Jobs\Releases;
use App\Jobs\Sleeps;
use App\Jobs\Throws;
use Kqueue\Tests\World;

$horizon = ['HORIZON' => 'true'];
/** Horizon times a job from its reservation to its deletion, in one process. */
$oneProcess = static function (World $w, string $uuid): void {
    $facts = array_filter($w->journal('event', $uuid), static fn (array $fact): bool => $fact['event'] !== 'horizon.JobPushed');
    $w->expectSame(1, count(array_unique(array_column($facts, 'pid'))), 'processes in which the events of the job came');
};

row(80, 'Horizon\'s queue: a job that succeeds is reserved, timed and deleted through it', function (World $w) use ($oneProcess): void {
    $uuid = $w->dispatch(new Sleeps(50));
    $w->expect($w->laravel['queue']->connection('redis') instanceof Laravel\Horizon\RedisQueue, 'it is the app\'s own queue');
    $w->work();
    $w->expectEvents(['horizon.JobPushed', 'horizon.JobReserved', 'JobProcessing', 'horizon.JobDeleted', 'JobProcessed', 'JobAttempted']);
    $times = array_column($w->journal('event', $uuid), 't', 'event');
    $w->expect($times['horizon.JobDeleted'] - $times['horizon.JobReserved'] >= 0.05, 'its run time can be told');
    $oneProcess($w, $uuid);
    $w->expectAttempts([1], $uuid);
    $w->expectGone();
}, drivers: ['redis'], env: $horizon);

row(80, 'Horizon\'s queue: a job that fails', function (World $w) use ($oneProcess): void {
    $uuid = $w->dispatch((new Throws())->with(['tries' => 1]));
    $w->work();
    $w->expectEvents([
        'horizon.JobPushed', 'horizon.JobReserved', 'JobProcessing', 'horizon.JobDeleted', 'failed', 'JobFailed', 'JobExceptionOccurred',
        'JobAttempted', 'report',
    ]);
    $oneProcess($w, $uuid);
    $w->expectGone();
    $w->expectFailed(1, 'thrown on purpose', $uuid);
}, drivers: ['redis'], env: $horizon);

row(80, 'Horizon\'s queue: jobs that are released, by themselves and after an exception', function (World $w) use ($oneProcess): void {
    $released = $w->dispatch(new Releases(30));
    $w->work();
    $w->expectEvents(['horizon.JobPushed', 'horizon.JobReserved', 'JobProcessing', 'horizon.JobReleased', 'JobProcessed', 'JobReleased', 'JobAttempted']);
    $oneProcess($w, $released);
    $uuid = $w->dispatch((new Throws(times: 1))->with(['tries' => 2]));
    $w->work();
    $events = array_column($w->journal('event', $uuid), 'event');
    foreach (['horizon.JobPushed' => 1, 'horizon.JobReserved' => 2, 'horizon.JobReleased' => 1, 'horizon.JobDeleted' => 1] as $event => $times) {
        $w->expectSame($times, count(array_keys($events, $event, true)), $event);
    }
    $w->expectQueue(delayed: 1);
}, drivers: ['redis'], env: $horizon);

row(80, 'Horizon\'s queue: a job whose process is killed', function (World $w): void {
    $uuid = $w->dispatch((new KillsItself(SIGKILL))->with(['tries' => 1]));
    $w->work();
    $w->expectRuns(1, $uuid);
    $w->differs(
        'a crash is replayed at once',
        stock: function () use ($w): void {
            $w->expectEvents(['horizon.JobPushed', 'horizon.JobReserved', 'JobProcessing']);
            $w->expectQueue(reserved: 1);
        },
        kqueue: function () use ($w, $uuid): void {
            $w->expectEvents([
                'horizon.JobPushed', 'horizon.JobReserved', 'JobProcessing', 'JobProcessing', 'horizon.JobDeleted', 'failed', 'JobFailed',
                'JobExceptionOccurred', 'JobAttempted', 'report',
            ]);
            $w->expectGone();
            $w->expectFailed(1, 'SIGKILL', $uuid);
        },
    );
}, drivers: ['redis'], env: $horizon, back: ['crash' => 'laravel']);

row(81, 'what Telescope, Pulse, Sentry and Nightwatch hear of a job, and store in time: each thing once', function (World $w): void {
    $good = $w->dispatch((new Plain())->with(['tag' => 'good']));
    $bad = $w->dispatch((new Throws(times: 2))->with(['tag' => 'bad', 'tries' => 2]));
    $again = $w->dispatch((new Throws(times: 1))->with(['tag' => 'again', 'tries' => 2]));
    $w->work();
    $w->expectSame(['Plain', 'Throws', 'Throws'], array_column($w->journal('queued'), 'class'), 'queued');
    $known = static fn (string ...$names): array => array_values(array_filter($names, static fn (string $name): bool => class_exists("Illuminate\\Queue\\Events\\{$name}")));
    $released = ['JobProcessing', 'JobExceptionOccurred', 'JobReleasedAfterException'];
    foreach ([
        $good => $known('JobProcessing', 'JobProcessed'),
        $bad => $known(...$released, ...['JobProcessing', 'JobFailed', 'JobExceptionOccurred']),
        $again => $known(...$released, ...['JobProcessing', 'JobProcessed']),
    ] as $uuid => $events) {
        $stored = $w->journal('stored', $uuid);
        // Each process stores when it has the time: what counts is when it was heard.
        usort($stored, static fn (array $a, array $b): int => $a['heard'] <=> $b['heard']);
        $w->expectSame($events, array_column($stored, 'event'), 'stored');
        foreach ($stored as $entry) {
            $driver = $w->sandbox->driver;
            $w->expectSame([$driver, $driver, 'default'], [$entry['worker'], $entry['connection'], $entry['queue']], 'connection and queue');
            $w->expectSame("watched-{$uuid}", $entry['watched'], 'what was put into the payload');
            $w->expectSame('queue:work', $entry['command'], 'the command that runs');
            $w->expectSame(in_array($entry['event'], ['JobExceptionOccurred', 'JobFailed'], true), $entry['exception'] !== null && $entry['event'] !== 'JobReleasedAfterException', 'exception');
        }
        // Stored by the process in which it was heard, whatever became of that.
        $heard = array_map(static fn (array $fact): array => [$fact['event'], $fact['pid']], array_filter(
            $w->journal('event', $uuid),
            static fn (array $fact): bool => in_array($fact['event'], $events, true),
        ));
        $w->expectSame(array_values($heard), array_map(static fn (array $fact): array => [$fact['event'], $fact['pid']], $stored), 'who stored it');
    }
    $commands = array_column($w->journal('command'), 'name', 'pid');
    foreach (array_unique(array_column($w->journal('start'), 'pid')) as $pid) {
        $w->expectSame('queue:work', $commands[$pid] ?? null, 'the command that a process with jobs has announced');
    }
    $w->expectGone();
    $w->expectFailed(1, 'thrown on purpose', $bad);
    $w->leftToChance('in how many processes kqueue runs them');
}, env: ['WATCHED' => 'true']);
