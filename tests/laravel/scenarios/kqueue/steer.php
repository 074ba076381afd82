<?php

/** What operators do with kqueue's own commands: pauses, failed jobs in bulk, quarantines, the pool. */

declare(strict_types=1);

use App\Jobs\DiesAsRetried;
use App\Jobs\Fails;
use App\Jobs\FailsUntil;
use App\Jobs\KillsItself;
use App\Jobs\Plain;
use App\Jobs\Quick;
use App\Jobs\Short;
use App\Jobs\Waits;
use Illuminate\Queue\Failed\FileFailedJobProvider;
use Kqueue\Tests\Failure;
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
    $daemon = $w->start();
    $w->waitForStatus('running');
    $w->kqueue('pause');
    $job = $w->dispatch(new Plain());
    $told = $w->waitForStatus('paused', 6, static fn (array $told): bool => $told['waiting'] === 1);
    $w->expectContains("1 job waits: kqueue resume {$told['app']}", $told['status'], 'the line');
    $w->expectSame(0, $daemon->stop(), 'exit status');
    $w->start();
    $w->waitForStatus('paused', 6, static fn (array $told): bool => $told['waiting'] === 1);
    $w->kqueue('pause', '--for', '1s');
    $w->waitFor('end', uuid: $job);
    $w->waitForStatus('running');
    [$said, $code] = $w->kqueue('pause', '--queue', 'absent');
    $w->expectSame(1, $code, 'the exit code for a queue that is not there');
    $w->expectContains('queue `absent` is not worked by this app; its queues: default', $said['state'], 'what is said of it');
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

row('steer', 'what needs PHP, through the control socket: failed jobs listed without contents, retried and forgotten; waiting ones cancelled', function (World $w): void {
    $w->start();
    $w->dispatchMany(new FailsUntil('one of many'), 3);
    $w->dispatchMany(new Fails('another'), 2);
    Wait::until(static fn (): bool => count($w->failed()) === 5, 'a record of 5 failed jobs');
    $ask = static fn (string $kind, array $more): array => $w->ask('errand', ['kind' => $kind] + $more);
    $end = static fn (array $told): array => (array) array_merge(['matched' => $told], ...array_values(array_filter($told['answers'] ?? [], static fn (array $answer): bool => isset($answer['end']))));
    $told = $ask('failed', ['act' => 'list', 'class' => 'FailsUntil', 'limit' => 2]);
    $jobs = array_values(array_filter(array_column($told['answers'] ?? [], 'job')));
    $w->expectSame([2, 3], [count($jobs), $end($told)['matched']], 'what is listed');
    $w->expect(($jobs[0]['uuid'] ?? '') !== '' && ! isset($jobs[0]['payload']), 'a job there has no payload');
    try {
        $refused = json_encode($ask('failed', ['act' => 'show']));
    } catch (Failure $failure) {
        $refused = $failure->getMessage();
    }
    $w->expectContains('may see what is in jobs', $refused, 'what is said to who asks for contents');
    $w->expectSame([3, 0], [$end($told = $ask('failed', ['act' => 'retry', 'class' => 'FailsUntil', 'dry' => true]))['matched'], $end($told)['done'] ?? null], 'a dry run');
    $w->expectSame([3, 3], [$end($told = $ask('failed', ['act' => 'retry', 'class' => 'FailsUntil']))['matched'], $end($told)['done'] ?? null], 'what is retried');
    $w->waitFor('failed', 8);
    Wait::until(static fn (): bool => count($w->failed()) === 5, 'a record of as many again');
    $w->expectSame([2, 2], [$end($told = $ask('failed', ['act' => 'forget', 'class' => 'Fails']))['matched'], $end($told)['done'] ?? null], 'what is forgotten');
    $w->expectSame(3, count($w->failed()), 'what is left');
    $later = $w->dispatch(new Plain(), delay: 600);
    $w->expectSame([1, 1], [$end($told = $ask('cancel', ['uuids' => [$later]]))['matched'], $end($told)['done'] ?? null], 'what is cancelled');
    $w->expectQueue(delayed: 0);
    $w->expectSame(0, $end($ask('broken', ['act' => 'drop']))['matched'], 'broken messages, where there are none');
}, engines: ['kqueue']);

row('steer', 'kqueue failed: a retry that dies between the record and the queue loses no job: the next command finds it', function (World $w): void {
    $die = "{$w->sandbox->dir}/die";
    $daemon = $w->start();
    $w->dispatch(new DiesAsRetried($die));
    $w->dispatchMany(new Fails('another'), 2);
    Wait::until(static fn (): bool => count($w->failed()) === 3, 'a record of 3 failed jobs');
    touch($die);
    [, $code] = $w->kqueue('failed', '--as-root', 'app', 'retry', '--class', 'DiesAsRetried', '--yes');
    $w->expect($code !== 0 && ! file_exists($die), 'the first command dies');
    $w->expectSame(2, count($w->failed()), 'records that are left');
    [$told] = $w->kqueue('failed', '--as-root', 'app', 'list');
    $w->expectSame([3, 3], [$told['matched'] ?? $told, count($w->failed())], 'what the next command lists, and what is recorded');
    [$said, $code] = $w->kqueue('failed', '--as-root', 'app', 'retry', '--class', 'DiesAsRetried', '--yes');
    $w->expectSame([1, 1, 0], [$said['matched'] ?? $said, $said['done'] ?? null, $code], 'what is retried then');
    $w->waitFor('failed', 4);
    $w->expectSame(0, $daemon->stop(), 'exit status');
}, engines: ['kqueue']);

row('steer', 'kqueue failed with the other providers of failed jobs, `database` and `file`: list, show, retry, forget', function (World $w): void {
    $w->sandbox->database()->exec('create table failed_by_number (id integer primary key, connection text, queue text, payload text, exception text, failed_at text)');
    // Laravel 8 has no `file`.
    foreach (class_exists(FileFailedJobProvider::class) ? ['database', 'file'] : ['database'] as $i => $provider) {
        $w->sandbox->setEnv(['FAILED_DRIVER' => $provider, 'FAILED_TABLE' => 'failed_by_number']);
        $daemon = $w->start();
        $failed = static fn (string ...$arguments): array => $w->kqueue('failed', '--as-root', 'app', ...$arguments);
        $records = static fn (int $count): array => Wait::until(static fn (): ?array => ($told = $failed('list')[0])['matched'] === $count ? $told : null, "{$count} failed jobs of {$provider}");
        $w->dispatchMany(new Fails('one of many'), 3);
        $w->dispatch(new FailsUntil('another'));
        $id = (string) $records(4)['jobs'][3]['id'];
        $w->expectContains('one of many', json_encode($failed('show', $id)[0]), 'what is shown of one');
        [$told] = $failed('list', '--class', 'FailsUntil');
        $w->expectSame(1, $told['matched'], 'those of a class');
        [$said, $code] = $failed('retry', $id, '--yes');
        $w->expectSame([1, 1, 0], [$said['matched'], $said['done'], $code], 'one is retried');
        $w->waitFor('failed', 9 * $i + 5);
        $records(4);
        [$said, $code] = $failed('retry', '--match', 'one of many', '--yes');
        $w->expectSame([3, 3, 0], [$said['matched'], $said['done'], $code], 'all of a kind are');
        $w->waitFor('failed', 9 * $i + 8);
        $records(4);
        [$said, $code] = $failed('forget', '--yes', '--class', 'Fails');
        $w->expectSame([3, 0], [$said['done'], $code], 'what is forgotten');
        [$said, $code] = $failed('retry', '--class', 'FailsUntil', '--yes');
        $w->expectSame([1, 0], [$said['done'], $code], 'the last');
        $w->waitFor('failed', 9 * $i + 9);
        $records(1);
        $failed('forget', '--yes', '--class', 'FailsUntil');
        $records(0);
        $w->expectSame(0, $daemon->stop(), 'exit status');
    }
}, engines: ['kqueue'], drivers: ['redis']);

row('bulk', 'kqueue failed: 10,000 jobs of one class are retried with one command while the app works, each once', function (World $w): void {
    $uuid = $w->dispatch(new Plain(), 'parked');
    $payload = $w->backend->state('parked')->ready[0]['payload'];
    $database = $w->sandbox->database();
    $failed = $database->prepare('insert into failed_jobs (uuid, connection, queue, payload, exception, failed_at) values (?, ?, ?, ?, ?, ?)');
    $database->beginTransaction();
    foreach (range(1, 10_000) as $i) {
        $uuids[] = $own = sprintf('%08x-0000-4000-8000-%012x', $i, $i);
        $failed->execute([$own, $w->sandbox->driver, 'default', str_replace($uuid, $own, $payload), "RuntimeException: no luck\n#0 {main}", date('Y-m-d H:i:s')]);
    }
    $database->commit();
    $w->start();
    $others = $w->dispatchMany(new Short(5), 500);
    $w->waitFor('start');
    [$said, $code] = $w->kqueue('failed', '--as-root', 'app', 'retry', '--class', 'Plain', '--yes');
    $w->expectSame([10_000, 10_000, 0], [$said['matched'] ?? $said, $said['done'] ?? null, $code], 'what is retried');
    Wait::until(static fn (): bool => count($w->journal('end')) >= 10_500, 'all of them to be done', 60.0, 100_000);
    $w->waitForQueue();
    $w->expectOnce([...$uuids, ...$others]);
    $w->expectFailed(0);
}, drivers: ['redis'], engines: ['kqueue'], env: ['RECORD' => 'false'], tiers: false);

row('steer', 'kqueue quarantine lists a class that has killed two processes, and lifts it: over a restart, its jobs go where others do', function (World $w): void {
    $daemon = $w->start();
    foreach (range(1, 2) as $i) {
        $w->dispatch((new KillsItself(SIGKILL))->with(['tries' => 1]));
        $w->waitFor('failed', $i);
    }
    $told = Wait::until(static function () use ($w): ?array {
        [$told] = $w->kqueue('quarantine');

        return ($told['classes'] ?? []) === [] ? null : $told;
    }, 'a class in quarantine');
    $w->expectSame([KillsItself::class, 2, 0], [$told['classes'][0]['class'], $told['classes'][0]['crashes'], $told['classes'][0]['runs']], 'what is listed');
    [$said, $code] = $w->kqueue('quarantine', 'app', 'lift');
    $w->expectSame(2, $code, 'the exit code without a class');
    [$said, $code] = $w->kqueue('quarantine', 'app', 'lift', 'KillsItself');
    $w->expectSame([['class ' . KillsItself::class . ': its quarantine is lifted'], 0], [$said['said'] ?? $said, $code], 'what is said');
    $daemon->stop();
    $w->start();
    $w->waitForStatus('running');
    [$told] = $w->kqueue('quarantine');
    $w->expectSame([], $told['classes'] ?? $told, 'what is listed after a restart');
    [$said, $code] = $w->kqueue('quarantine', 'app', 'lift', 'KillsItself');
    $w->expectSame([['class KillsItself: not quarantined'], 0], [$said['said'] ?? $said, $code], 'what is said the second time');
}, engines: ['kqueue']);

row('steer', 'kqueue pool --size bounds the pool over a restart until it is taken back, and --recycle replaces a worker after its job', function (World $w): void {
    $options = ['pool-size' => 4, 'pool-max-size' => 4];
    $daemon = $w->start($options);
    $w->waitForStatus('running');
    [$said, $code] = $w->kqueue('pool', '--size', '2', '--for', '1h');
    $w->expectSame([['the pool has at most 2 workers for 3600 s; configured: 4'], 0], [$said['said'] ?? $said, $code], 'what is said');
    $w->expectSame(1, $w->kqueue('pool', '--size', '5')[1], 'the exit code past pool_max_size');
    $daemon->stop();
    $w->start($options);
    $w->waitForStatus('running', 0, static fn (array $told): bool => ($told['pool']['size'] ?? 0) === 2);
    $go = $w->sandbox->dir . '/go';
    foreach (range(1, 6) as $i) {
        $w->dispatch(new Waits($go, 'pooled'));
    }
    $w->waitFor('start', 2);
    $w->dispatch(new Quick(1));
    $w->waitFor('end');
    $w->expectRuns(3);
    $told = $w->status()[0];
    $busy = array_values(array_filter($told['workers'], static fn (array $worker): bool => $worker['tier'] === 'pooled' && $worker['state'] === 'busy'));
    $w->expectSame(2, count($busy), 'workers of the pool with a job');
    [$said, $code] = $w->kqueue('pool', '--recycle', (string) $busy[0]['id']);
    $w->expectSame([["process {$busy[0]['id']} exits after its job; another one replaces it"], 0], [$said['said'] ?? $said, $code], 'what is said');
    $w->kqueue('pool', '--size', 'settings');
    $w->waitFor('start', 5);
    touch($go);
    $w->waitFor('end', 7);
    $w->expectSame([1], array_values(array_unique(array_column($w->journal('start'), 'attempts'))), 'attempts');
    Wait::until(static function () use ($w, $busy): bool {
        $workers = array_column($w->status()[0]['workers'] ?? [], 'id');

        return ! in_array($busy[0]['id'], $workers, true) && in_array($busy[1]['id'], $workers, true);
    }, 'the one to be gone, and the other to be there');
}, engines: ['kqueue']);

row('steer', 'kqueue pause --class holds one class over a restart, others flow past it, and no attempt is counted', function (World $w): void {
    $daemon = $w->start();
    $w->waitForStatus('running');
    [$said, $code] = $w->kqueue('pause', '--class', 'Quick');
    $w->expectSame(1, $code, 'the exit code for a class that nothing is known of');
    $w->expectContains('give its full name', $said['state'] ?? '', 'what is said of it');
    [$said, $code] = $w->kqueue('pause', '--class', Quick::class);
    $w->expectSame([['paused class ' . Quick::class], 0], [$said['said'] ?? $said, $code], 'what is said');
    $held = $w->dispatchMany(new Quick(1), 20);
    $w->dispatch(new Plain());
    $w->waitFor('end');
    $daemon->stop();
    $w->expectQueue(ready: 20, attempts: 0);
    $w->start();
    $told = $w->waitForStatus('running', 0, static fn (array $told): bool => ($told['paused_classes'][0]['waiting'] ?? 0) > 0);
    $w->expectSame([Quick::class, 'operator'], [$told['paused_classes'][0]['class'], $told['paused_classes'][0]['paused_by']['by']], 'what is paused, and by whom');
    $w->expectContains('paused classes: Quick', $told['status'], 'the line');
    $w->dispatch(new Plain());
    $w->waitFor('end', 2);
    $w->expectRuns(2);
    [$said, $code] = $w->kqueue('resume', '--class', 'Quick');
    $w->expectSame([['resumed class ' . Quick::class], 0], [$said['said'] ?? $said, $code], 'what kqueue resume says');
    $w->waitFor('end', 22);
    $w->expectSame(array_fill(0, 22, 1), array_column($w->journal('start'), 'attempts'), 'attempts seen by the runs');
    sort($held);
    $ended = array_values(array_intersect($held, array_column($w->journal('end'), 'uuid')));
    $w->expectSame($held, $ended, 'those that were held');
}, engines: ['kqueue']);
