<?php

/**
 * What Horizon's master would do, where its queue is worked by kqueue. The app has a stand-in for Horizon's records,
 * listeners and commands.
 */

declare(strict_types=1);

use App\Jobs\Plain;
use App\Jobs\Waits;
use Kqueue\Tests\Wait;
use Kqueue\Tests\World;

$horizon = ['HORIZON' => 'true', 'HORIZON_MASTER' => 'true'];
/** One of Horizon's records, once it says so. */
$record = static function (World $w, string $key, ?Closure $fits = null): array {
    return Wait::until(static function () use ($w, $key, $fits): ?array {
        $record = json_decode((string) $w->laravel['redis']->connection()->get("horizon:{$key}"), true);

        return is_array($record) && ($fits === null || $fits($record)) ? $record : null;
    }, "Horizon's record {$key}");
};
$gone = static fn (World $w): bool => ! $w->laravel['redis']->connection()->exists('horizon:master:machine-kqueue-app');
$paused = static fn (array $record): bool => $record['status'] === 'paused';
$running = static fn (array $record): bool => $record['status'] === 'running';

row('horizon', 'its records show kqueue as a supervisor with its processes, while it runs; its death costs no job', function (World $w) use ($record, $gone): void {
    $daemon = $w->start(['queue' => 'high,default', 'pool-min-idle' => 2]);
    $master = $record($w, 'master:machine-kqueue-app');
    $w->expectSame(['running', ['machine-kqueue-app:app'], 'production'], [$master['status'], $master['supervisors'], $master['environment']], 'the master');
    // A lane and two pooled workers.
    $supervisor = $record($w, 'supervisor:machine-kqueue-app:app', static fn (array $record): bool => array_sum($record['processes']) === 3);
    $w->expectSame(['redis:default', 'redis:high'], array_keys($supervisor['processes']), 'queues');
    $w->expectSame('high,default', $supervisor['options']['queue'], 'their order');
    posix_kill($master['pid'], SIGKILL);
    $w->dispatch(new Plain());
    $w->waitFor('end');
    $record($w, 'master:machine-kqueue-app', static fn (array $record): bool => $record['pid'] !== $master['pid']);
    $daemon->stop();
    $w->expect($gone($w), 'no record of a master is left');
}, drivers: ['redis'], engines: ['kqueue'], env: $horizon);

row('horizon', 'its indexes are trimmed, and long waits are told, whether jobs wait in the queue or here', function (World $w): void {
    $redis = $w->laravel['redis']->connection();
    foreach (['recent_jobs', 'failed_jobs', 'monitored_jobs'] as $index) {
        $redis->zadd("horizon:{$index}", -(time() - 7200), 'old');
        $redis->zadd("horizon:{$index}", -time(), 'new');
    }
    $go = $w->sandbox->dir . '/go';
    $w->dispatchMany(new Waits($go, 'pooled'), 20);
    // All of them are reserved at once: the queue is empty.
    $w->start(['pool-size' => 1, 'pool-max-size' => 1]);
    $w->waitForStatus('running', 0, static fn (array $told): bool => $told['held'] === 20);
    foreach (['recent_jobs', 'failed_jobs', 'monitored_jobs'] as $index) {
        Wait::until(static fn (): bool => $redis->zrange("horizon:{$index}", 0, -1) === ['new'], "{$index} to be trimmed");
    }
    $w->expectSame(['redis', 'default'], array_values(array_intersect_key($w->waitFor('long wait')[0], ['connection' => 1, 'queue' => 1])), 'the queue that waits');
}, drivers: ['redis'], engines: ['kqueue'], env: $horizon);

row('horizon', 'horizon:pause holds every queue, horizon:continue lets them go', function (World $w) use ($record, $paused, $running): void {
    $w->start();
    $w->dispatch(new Plain());
    $w->waitFor('end');
    // As Horizon's commands do: a signal to the process that the record names.
    posix_kill($record($w, 'master:machine-kqueue-app')['pid'], SIGUSR2);
    $record($w, 'master:machine-kqueue-app', $paused);
    $record($w, 'supervisor:machine-kqueue-app:app', $paused);
    $w->dispatch(new Plain());
    $told = $w->waitForStatus('paused', 6, static fn (array $told): bool => $told['waiting'] === 1);
    $w->expectContains('1 job waits: php artisan horizon:continue', $told['status'], 'the line');
    $w->expectSame(1, count($w->journal('start')), 'jobs that have begun');
    posix_kill($record($w, 'master:machine-kqueue-app')['pid'], SIGCONT);
    $w->waitFor('end', 2);
    $record($w, 'master:machine-kqueue-app', $running);
    // And by its queue of commands.
    $w->laravel[Laravel\Horizon\Contracts\HorizonCommandQueue::class]->push('master:machine-kqueue-app', Laravel\Horizon\SupervisorCommands\Pause::class);
    $record($w, 'master:machine-kqueue-app', $paused);
}, drivers: ['redis'], engines: ['kqueue'], env: $horizon);

row('horizon', 'horizon:terminate replaces every process after its current job, and ends a pause', function (World $w) use ($record): void {
    $daemon = $w->start();
    $go = $w->sandbox->dir . '/go';
    $uuid = $w->dispatch(new Waits($go, 'pooled'));
    $w->waitFor('start');
    $before = $record($w, 'master:machine-kqueue-app')['pid'];
    $php = $daemon->php();
    posix_kill($before, SIGTERM);
    $record($w, 'master:machine-kqueue-app', static fn (array $record): bool => $record['pid'] !== $before);
    touch($go);
    $w->waitFor('end', uuid: $uuid);
    $next = $w->dispatch(new Plain());
    $w->waitFor('end', uuid: $next);
    $w->expectAttempts([1], $uuid);
    Wait::until(static fn (): bool => array_intersect($php, $daemon->php()) === [], 'every process from before to be gone');
    $w->expect($daemon->runs(), 'the engine is the same');
}, drivers: ['redis'], engines: ['kqueue'], env: $horizon);

row('horizon', 'horizon = false leaves all of that alone', function (World $w) use ($gone): void {
    $w->start(['horizon' => 'false']);
    $w->dispatch(new Plain());
    $w->waitFor('end');
    $w->waitForStatus('running');
    $w->expect($gone($w), 'there is no record of a master');
}, drivers: ['redis'], engines: ['kqueue'], env: $horizon);

row('horizon', 'where processes are not forked, all of that is the same', function (World $w) use ($record, $gone): void {
    $daemon = $w->start(['start' => 'spawn']);
    $master = $record($w, 'master:machine-kqueue-app');
    posix_kill($master['pid'], SIGTERM);
    $record($w, 'master:machine-kqueue-app', static fn (array $record): bool => $record['pid'] !== $master['pid']);
    $w->dispatch(new Plain());
    $w->waitFor('end');
    $daemon->stop();
    $w->expect($gone($w), 'no record of a master is left');
}, drivers: ['redis'], engines: ['kqueue'], env: $horizon);

row('horizon', 'a version of Horizon without what that needs: said once, and jobs run', function (World $w): void {
    $daemon = $w->start();
    $w->dispatch(new Plain());
    $w->waitFor('end');
    $daemon->stop();
    $w->expectSame(1, substr_count($daemon->output(), 'Horizon: this version has no Laravel\Horizon\Contracts\JobRepository'), 'lines that say so');
}, drivers: ['redis'], engines: ['kqueue'], env: ['HORIZON' => 'true']);
