<?php

/** What `kqueue status` says of an app that does not do as it should, or that waits for a command. */

declare(strict_types=1);

use App\Jobs\Plain;
use App\Jobs\Waits;
use Kqueue\Tests\Wait;
use Kqueue\Tests\World;

/** What is in the app's bootstrap file instead of the app, until the returned function is called. */
$deploy = static function (World $w, string $code): Closure {
    $file = $w->sandbox->app . '/bootstrap/app.php';
    $before = (string) file_get_contents($file);
    file_put_contents($file, "<?php\n{$code}\n");

    return static function () use ($file, $before): void {
        file_put_contents($file, $before);
    };
};

row('status', 'a deploy that does not boot: degraded, with the reason, until one does', function (World $w) use ($deploy): void {
    $w->start();
    $w->dispatch(new Plain());
    $w->waitFor('end');
    $w->waitForStatus('running');
    $mend = $deploy($w, 'throw new RuntimeException("the new release is broken");');
    $w->artisan('queue:restart');
    $status = $w->waitForStatus('degraded', 5);
    $w->expectContains('the new release is broken', $status['reason'], 'the reason');
    $w->expect(str_starts_with($status['status'], "{$status['app']}: degraded: "), "the line says so: {$status['status']}");
    $w->dispatchMany(new Plain(), 7);
    Wait::until(static fn (): bool => $w->status()[0]['waiting'] === 7, 'seven jobs that wait');
    $mend();
    $w->waitFor('end', 8, 40.0);
    $w->waitForStatus('running');
}, drivers: ['redis'], engines: ['kqueue']);

row('status', 'a template that hangs in its boot is killed at boot_timeout, and another is tried; isolated jobs run then', function (World $w) use ($deploy): void {
    $daemon = $w->start(['boot-timeout' => '2s']);
    $w->dispatch(new Plain());
    $w->waitFor('end');
    $mend = $deploy($w, 'while (true) { sleep(600); }');
    $w->artisan('queue:restart');
    $status = $w->waitForStatus('degraded', 5);
    $w->expectContains('was not ready within 2 s', $status['reason'], 'the reason');
    $killed = 'the template process failed (it was not ready within 2 s (boot_timeout), and was killed)';
    Wait::until(static fn (): bool => str_contains($daemon->output(), $killed), 'the log to say that the template was killed');
    $mend();
    touch($go = $w->sandbox->dir . '/go');
    $uuid = $w->dispatch(new Waits($go, 'isolated'));
    $w->waitFor('end', seconds: 40.0, uuid: $uuid);
    $w->waitForStatus('running');
}, drivers: ['redis'], engines: ['kqueue']);

row('status', 'a template that hangs later on is killed when it does not fork in time: what it has forked runs on, and the next job runs from another', function (World $w): void {
    $go = $w->sandbox->dir . '/go';
    $daemon = $w->start(['boot-timeout' => '2s']);
    $running = $w->dispatch(new Waits($go, 'isolated'));
    $w->waitFor('start');
    $php = $daemon->php();
    $parents = array_map(static fn (int $pid): int => (int) explode(' ', (string) preg_replace('/^.*\) /s', '', (string) file_get_contents("/proc/{$pid}/stat")))[1], $php);
    $template = current(array_intersect($php, $parents));
    posix_kill($template, SIGSTOP);
    $next = $w->dispatch(new Waits($go, 'isolated'));
    $w->waitFor('start', uuid: $next);
    touch($go);
    $w->waitFor('end', 2);
    $w->expectAttempts([1], $running);
    $w->expectAttempts([1], $next);
    $w->expectContains('it did not answer a fork request, and was killed', $daemon->output(), 'the log');
    $w->waitForStatus('running');
}, drivers: ['redis'], engines: ['kqueue']);

row('status', 'the whole backlog counts, not only what is reserved', function (World $w): void {
    $go = $w->sandbox->dir . '/go';
    $w->start(['pool-size' => 1, 'pool-max-size' => 1, 'max-waiting' => 10]);
    $w->dispatchMany(new Waits($go, 'pooled'), 60);
    $w->dispatch(new Plain(), delay: 600);
    $w->waitFor('start');
    $told = $w->waitForStatus('running', 0, static fn (array $told): bool => $told['running'] + $told['waiting'] === 60 && $told['delayed'] === 1);
    $w->expectContains("{$told['running']} running, {$told['waiting']} waiting", $told['status'], 'the line');
    $w->expectContains(', 1 delayed, ', $told['status'], 'the line');
}, engines: ['kqueue']);

row('status', 'in maintenance mode it says what waits, and for which command', function (World $w): void {
    $w->artisan('down');
    $w->start();
    $w->dispatch(new Plain());
    $told = $w->waitForStatus('maintenance', 6, static fn (array $told): bool => $told['waiting'] === 1);
    $w->expectContains('1 job waits: php artisan up', $told['status'], 'the line');
    $w->artisan('up');
    $w->waitFor('end');
    $w->waitForStatus('running');
}, engines: ['kqueue']);

row('status', 'while every queue is paused it says what waits, and for which command', function (World $w): void {
    $queue = "{$w->sandbox->driver}:default";
    $w->artisan('queue:pause', queue: $queue);
    $w->start();
    $w->dispatchMany(new Plain(), 2);
    $told = $w->waitForStatus('paused', 6, static fn (array $told): bool => $told['waiting'] === 2);
    $w->expectContains("2 jobs wait: php artisan queue:resume {$queue}", $told['status'], 'the line');
    $w->artisan('queue:resume', queue: $queue);
    $w->waitFor('end', 2);
    $w->waitForStatus('running');
}, engines: ['kqueue'], since: '12.40');

row('status', 'one queue that cannot be read, while the server answers: degraded, with its name and why', function (World $w): void {
    $redis = $w->laravel['redis']->connection();
    $w->start(['queue' => 'default,other']);
    $w->waitForStatus('running');
    $redis->set('queues:other', 'no list');
    $told = $w->waitForStatus('degraded', 5, static fn (array $told): bool => str_contains($told['reason'], 'queue other cannot be read'));
    $w->expectContains('WRONGTYPE', $told['reason'], 'the reason');
    $redis->del('queues:other');
    $w->waitForStatus('running');
    $w->dispatch(new Plain(), 'other');
    $w->waitFor('end');
}, drivers: ['redis'], engines: ['kqueue']);

row('status', 'a queue that does not answer: degraded, with what it says', function (World $w): void {
    $w->start();
    $w->waitForStatus('running');
    $w->sandbox->redis->stop();
    $told = $w->waitForStatus('degraded', 5, static fn (array $told): bool => str_contains($told['reason'], ' has not answered for '));
    $w->expectContains("redis at 127.0.0.1:{$w->sandbox->redis->port}: ", $told['reason'], 'the reason');
}, drivers: ['redis'], engines: ['kqueue'], ownServer: true);
