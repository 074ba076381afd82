<?php

/** Jobs whose class ends PHP when it is loaded: each ends, and those behind them run. */

declare(strict_types=1);

use App\Jobs\Heavy;
use App\Jobs\Plain;
use Illuminate\Support\Str;
use Kqueue\Tests\World;

/** Writes a class of the app's, and queues a job of it as it was queued when the class was sound. Gives its uuid. */
$queue = static function (World $w, string $class, string $source, array $payload = [], string $fields = ''): string {
    file_put_contents("{$w->sandbox->app}/app/Jobs/{$class}.php", "<?php\nnamespace App\\Jobs;\n{$source}\n");
    $name = "App\\Jobs\\{$class}";
    $uuid = (string) Str::uuid();
    $command = 'O:' . strlen($name) . ":\"{$name}\":" . substr_count($fields, ';') / 2 . ":{{$fields}}";
    $w->pushRaw(json_encode($payload + [
        'uuid' => $uuid, 'id' => Str::random(32), 'attempts' => 0, 'displayName' => $name, 'job' => 'Illuminate\Queue\CallQueuedHandler@call',
        'maxTries' => 2, 'backoff' => null, 'maxExceptions' => null, 'timeout' => null, 'data' => ['commandName' => $name, 'command' => $command],
    ]));

    return $uuid;
};

/** How classes end PHP, and what is said of it. */
$ways = [
    'BadMethod' => ['interface Shape { public function area(int $x): int; } class BadMethod implements Shape { public function area(string $x): int { return 1; } }', 'must be compatible'],
    'BadEnum' => ['enum BadEnum: array { case A = 1; }', 'Enum'],
    'Leaves' => ['exit(3);', 'exit'],
];

row('unloadable', 'classes that do not compile, or end PHP when they are loaded, tries=2: failed with their cause', function (World $w) use ($queue, $ways): void {
    $uuids = [];
    foreach ($ways as $class => [$source]) {
        $uuids[$class] = $queue($w, $class, $source);
    }
    $next = $w->dispatch(new Plain());
    $w->work();
    $w->expectRuns(1, $next);
    $w->expectGone();
    $failed = array_column($w->failed(), 'exception', 'uuid');
    $w->expectSame(count($ways), count($failed), 'failed jobs');
    foreach ($ways as $class => [, $cause]) {
        $w->expectContains("App\\Jobs\\{$class} died with its process", $failed[$uuids[$class]] ?? '', "what is written down of {$class}");
        $w->expectContains($cause, $failed[$uuids[$class]], "what is written down of {$class}");
    }
    $failures = array_filter($w->journal('event'), static fn (array $fact): bool => $fact['event'] === 'JobFailed');
    $w->expectSame(count($ways), count($failures), 'JobFailed events');
    $w->expect(! str_contains($w->output(), 'the template process failed'), 'the template lives');
}, engines: ['kqueue'], tiers: true);

row('unloadable', 'a class that never comes to an end when it is loaded, timeout=1: failed', function (World $w) use ($queue): void {
    $uuid = $queue($w, 'Endless', 'while (true) { usleep(1000); }', ['maxTries' => 1, 'timeout' => 1]);
    $next = $w->dispatch(new Plain());
    $w->work();
    $w->expectRuns(1, $next);
    $w->expectGone();
    $w->expectFailed(1, 'App\Jobs\Endless', $uuid);
    $w->expectContains('App\Jobs\Endless cannot be loaded', $w->output(), 'kqueue\'s log');
}, engines: ['kqueue'], since: '11.0');

row('unloadable', 'a class that implements what is gone, or that is gone itself: failed as under queue:work', function (World $w) use ($queue): void {
    $half = $queue($w, 'Half', 'class Half implements \App\Gone { public function handle() {} }', ['maxTries' => 1]);
    $gone = $queue($w, 'Gone', 'return;', ['maxTries' => 1]);
    $noisy = $queue($w, 'Noisy', "echo 'loaded';\nclass Noisy { public function handle() {} }", ['maxTries' => 1]);
    $w->work();
    $w->expectGone();
    $failed = array_column($w->failed(), 'exception', 'uuid');
    $w->expectContains('App\Gone', $failed[$half] ?? '', 'what is written down of the one');
    $w->expectContains('ncomplete', $failed[$gone] ?? '', 'what is written down of the other');
    $w->expect(! isset($failed[$noisy]), 'the one that prints has run');
});

row('unloadable', 'while a class is being inspected a process is forked, and another class asked for: neither is blamed', function (World $w) use ($queue): void {
    $daemon = $w->start();
    $known = $w->dispatch(new Heavy(0));
    $w->waitFor('end', uuid: $known);
    $file = $w->sandbox->dir . '/go';
    $loading = "if (! file_exists('{$file}')) { \App\Journal::write('loading'); for (\$i = 0; \$i < 150 && ! file_exists('{$file}'); \$i++) { usleep(10000); } }";
    $queue($w, 'SlowToLoad', "{$loading}\nclass SlowToLoad { public function handle(): void { \App\Journal::write('end', ['class' => 'SlowToLoad']); } }");
    $w->waitFor('loading');
    $meanwhile = $w->dispatch(new Heavy(0));
    $w->waitFor('start', uuid: $meanwhile);
    $w->dispatch(new Plain());
    $w->waitForQueue(ready: 0);
    touch($file);
    $w->waitFor('end', 4);
    $w->waitForQueue();
    $daemon->stop();
    $w->expect(! str_contains($w->output(), 'must not share'), 'nothing is said of the app');
    $w->expect(! str_contains($w->output(), 'cannot be loaded'), 'nothing is said of the classes');
    $w->expectFailed(0);
}, drivers: ['redis'], engines: ['kqueue']);
