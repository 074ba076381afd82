<?php

/** An app that has nothing to do: its processes end, and the first job starts them again. */

declare(strict_types=1);

use App\Jobs\Deployed;
use App\Jobs\Plain;
use App\Jobs\Pooled;
use App\Jobs\Timed;
use Illuminate\Queue\RedisQueue;
use Illuminate\Redis\RedisManager;
use Kqueue\Tests\Daemon;
use Kqueue\Tests\Files;
use Kqueue\Tests\Wait;
use Kqueue\Tests\World;

/** Waits until the app sleeps and says so: it is well, and PHP is gone. */
$sleeps = static function (World $w, Daemon $daemon): array {
    $status = $w->waitForStatus('running', 0, static fn (array $shown): bool => isset($shown['asleep']));
    $w->waitForStatus('running', 0, static fn (array $shown): bool => isset($shown['asleep']) && $shown['workers'] === []);
    Wait::until(static fn (): bool => $daemon->php() === [], 'every PHP process to end');
    $w->expectSame(1, preg_match("/^{$status['app']}: asleep since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d, /", $status['status']), "the line says so: {$status['status']}");

    return $status;
};

/** Starts kqueue with a job that runs, and waits until it sleeps. */
$asleep = static function (World $w, array $options = []) use ($sleeps): Daemon {
    $daemon = $w->start($options + ['idle-after' => '300ms']);
    $w->waitFor('end', uuid: $w->dispatch(new Plain()));
    $sleeps($w, $daemon);

    return $daemon;
};

/** What a job has left that an asleep app was woken by. */
$ran = static function (World $w, string $uuid): void {
    $w->waitFor('end', uuid: $uuid);
    $w->expectAttempts([1], $uuid);
    $w->waitForQueue();
};

foreach (['inline', 'pooled', 'isolated'] as $tier) {
    row('sleep', "asleep without a job, well, and awake for the next one, {$tier}", function (World $w) use ($asleep, $sleeps, $ran, $tier): void {
        $daemon = $asleep($w, ['default-tier' => $tier]);
        // To look at it wakes nobody.
        foreach (range(1, 3) as $look) {
            $sleeps($w, $daemon);
            $w->expectSame(0, $w->kqueue('health')[1], 'health is well');
        }
        $since = $w->status()[0]['asleep'];
        $w->expectSame($since, $w->status()[0]['asleep'], 'since when');
        $ran($w, $w->dispatch(new Plain()));
        $w->expectSame([$tier], array_values(array_unique($w->tiers(Plain::class, 2))), 'where they ran');
        $w->expect($sleeps($w, $daemon)['asleep'] >= $since, 'it sleeps again');
        $w->expectSame(0, $daemon->stop(), 'exit status');
    }, drivers: null, engines: ['kqueue'], tiers: false);
}

row('sleep', 'the same where processes are started one by one', function (World $w) use ($asleep, $sleeps, $ran): void {
    $daemon = $asleep($w, ['start' => 'spawn']);
    $ran($w, $w->dispatch(new Plain()));
    $ran($w, $w->dispatch(new Pooled(50)));
    $sleeps($w, $daemon);
    $w->expectSame(0, $daemon->stop(), 'exit status');
}, drivers: null, engines: ['kqueue'], tiers: false);

row('sleep', 'a delayed job wakes it when it is due, and one within sight keeps it awake', function (World $w) use ($asleep, $sleeps): void {
    $daemon = $asleep($w);
    $uuid = $w->dispatch(new Plain(), delay: 2);
    $due = time() + 2;
    $sleeps($w, $daemon);
    $w->waitFor('end', uuid: $uuid);
    $w->expect(time() >= $due, 'not before');
    $w->expect(time() <= $due + 10, 'it is not forgotten');
    $daemon->stop();
    $daemon = $w->start(['idle-after' => '3s']);
    $w->waitFor('end', uuid: $w->dispatch(new Plain()));
    $uuid = $w->dispatch(new Plain(), delay: 5);
    $w->waitFor('end', uuid: $uuid);
    $w->expectSame(0, substr_count($daemon->output(), 'asleep until the next job'), 'times it has slept');
}, drivers: ['redis', 'sqlite', 'mariadb', 'pgsql'], engines: ['kqueue'], tiers: false);

row('sleep', 'jobs that come in the very moment of falling asleep are run, each once', function (World $w): void {
    $daemon = $w->start(['idle-after' => '100ms']);
    $marks = $w->sandbox->dir . '/started';
    // Each takes as long as the app does to boot. With two kinds of queues and three Laravels these are more than a thousand.
    $tries = getenv('KQUEUE_TEST_FULL') !== false ? 200 : 40;
    for ($try = 1; $try <= $tries; $try++) {
        $w->dispatch(new Timed($marks));
        Wait::until(static fn (): bool => count(@file($marks) ?: []) >= $try, "job {$try}");
        // Around the moment in which it looks, and ends its processes.
        usleep(random_int(60_000, 160_000));
    }
    $w->waitForQueue();
    $w->expectSame($tries, count(file($marks)), 'times a job has begun');
    $w->expectFailed(0);
    $slept = substr_count($daemon->output(), 'asleep until the next job');
    $w->expect($slept > $tries / 15, "it has slept now and then, {$slept} times");
    $w->expectSame(0, $daemon->stop(), 'exit status');
}, drivers: null, engines: ['kqueue'], tiers: false);

row('sleep', 'a deploy while it sleeps: seen, and the next job runs the new code', function (World $w) use ($asleep, $sleeps): void {
    [$old, $new, $link] = [$w->sandbox->app, $w->sandbox->dir . '/new', $w->sandbox->dir . '/current'];
    exec('cp -a ' . escapeshellarg($old) . ' ' . escapeshellarg($new));
    unlink("{$new}/journal.jsonl");
    array_map(static fn (string $shared) => Files::remove("{$new}/{$shared}"), ['database', 'storage']);
    foreach (['database', 'storage', 'journal.jsonl'] as $shared) {
        symlink("{$old}/{$shared}", "{$new}/{$shared}");
    }
    foreach (['Release', 'ReleaseLater'] as $class) {
        $code = (string) file_get_contents("{$new}/app/{$class}.php");
        file_put_contents("{$new}/app/{$class}.php", str_replace("'old'", "'new'", $code));
    }
    symlink($old, $link);
    $daemon = $asleep($w, ['path' => $link]);
    $deploy = static function (string $release) use ($link): void {
        symlink($release, "{$link}.next");
        rename("{$link}.next", $link);
    };
    $release = static fn (string $uuid): array => array_column($w->journal('release', $uuid), 'first');
    // The job comes at once, before anybody has looked.
    $deploy($new);
    $w->waitFor('end', uuid: $uuid = $w->dispatch(new Deployed()));
    $w->expectSame(['new'], $release($uuid), 'release on which it ran');
    $w->expectAttempts([1], $uuid);
    $sleeps($w, $daemon);
    $deploy($old);
    Wait::until(static fn (): bool => str_contains($daemon->output(), 'the app has changed while it slept'), 'the deploy to be seen', 20.0);
    $sleeps($w, $daemon);
    $w->waitFor('end', uuid: $uuid = $w->dispatch(new Deployed()));
    $w->expectSame(['old'], $release($uuid), 'release on which it ran');
    $w->expectSame(0, $daemon->stop(), 'exit status');
}, drivers: ['redis', 'sqlite'], engines: ['kqueue'], tiers: false);

row('sleep', 'its queue is another one by now: it wakes, and the job there is run', function (World $w) use ($asleep, $ran): void {
    $daemon = $asleep($w);
    [, $code] = $w->kqueue('pause', '--class', Pooled::class);
    $w->expectSame(0, $code, 'the exit code of a pause');
    // Another database of the same server.
    $w->sandbox->setEnv(['REDIS_DB' => 2]);
    $servers = array_replace_recursive(config('database.redis'), ['default' => ['database' => 2]]);
    $queue = new RedisQueue(new RedisManager(app(), $servers['client'], $servers));
    $queue->setContainer(app());
    $queue->push(new Pooled(1), '', 'default');
    $queue->push(new Plain(), '', 'default');
    $w->waitFor('end', 2, 30.0);
    $held = static fn (array $told): bool => ($told['paused_classes'][0]['waiting'] ?? 0) === 1;
    $w->waitForStatus('running', 0, $held);
    $w->kqueue('resume', '--class', Pooled::class);
    $w->waitFor('end', 3);
    $w->expectContains('the app\'s queue has moved to connection ', $daemon->output(), 'the log');
    $w->expectSame(0, $daemon->stop(), 'exit status');
}, drivers: ['redis'], engines: ['kqueue'], tiers: false);

row('sleep', 'an app that does not boot when it wakes: degraded, with the reason, the job back in its queue as it was, and run when it boots', function (World $w) use ($asleep): void {
    $daemon = $asleep($w);
    $file = $w->sandbox->app . '/bootstrap/app.php';
    $usual = (string) file_get_contents($file);
    file_put_contents($file, "<?php throw new RuntimeException('the new release is broken');");
    $uuid = $w->dispatch(new Plain());
    $status = $w->waitForStatus('degraded', 5);
    $w->expectContains('the new release is broken', $status['reason'], 'the reason');
    $w->waitForQueue(ready: 1);
    file_put_contents($file, $usual);
    $w->waitFor('end', uuid: $uuid, seconds: 60.0);
    $w->expectAttempts([1], $uuid);
    $w->waitForStatus('running');
    $w->expectSame(0, $daemon->stop(), 'exit status');
}, drivers: ['redis', 'sqlite'], engines: ['kqueue'], tiers: false);

row('sleep', 'queue:restart, down and queue:pause while it sleeps count before the first job', function (World $w) use ($asleep, $ran): void {
    $daemon = $asleep($w);
    $w->artisan('queue:restart');
    // Longer ago than two clocks may differ.
    $w->laravel['cache']->forever('illuminate:queue:restart', time() - 10);
    $ran($w, $w->dispatch(new Plain()));
    $w->expectContains('queue:restart while the app slept', $daemon->output(), 'the log');
    Wait::until(static fn (): bool => isset($w->status()[0]['asleep']), 'it sleeps');
    $w->artisan('down');
    $uuid = $w->dispatch(new Plain());
    $w->waitForStatus('maintenance', 6);
    $w->waitForQueue(ready: 1);
    $w->artisan('up');
    $ran($w, $uuid);
    $w->expectSame(0, $daemon->stop(), 'exit status');
}, drivers: ['redis', 'sqlite'], engines: ['kqueue'], tiers: false);

row('sleep', 'the server is started anew while it sleeps, and SIGHUP wakes nobody', function (World $w) use ($asleep, $sleeps, $ran): void {
    $daemon = $asleep($w);
    $daemon->signal(SIGHUP);
    Wait::until(static fn (): bool => str_contains($daemon->output(), 'SIGHUP: '), 'the reload');
    $sleeps($w, $daemon);
    $w->sandbox->server->stop();
    $w->waitForStatus('degraded', 5);
    $w->sandbox->server->launch();
    $w->redial();
    $ran($w, $w->dispatch(new Plain()));
    $w->expectSame(0, $daemon->stop(), 'exit status');
}, drivers: ['redis'], engines: ['kqueue'], tiers: false, ownServer: true);
