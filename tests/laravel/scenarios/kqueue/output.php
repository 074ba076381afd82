<?php

/** What PHP prints is in kqueue's log, each line with the job that printed it. */

declare(strict_types=1);

use App\Jobs\Prints;
use App\Jobs\PrintsInline;
use App\Jobs\PrintsIsolated;
use Kqueue\Tests\Daemon;
use Kqueue\Tests\World;

const WAYS = ['echo', 'stderr', 'stdout', 'error_log', 'php-stderr', 'exec', 'proc_open-1', 'proc_open-2', 'half'];

/**
 * Jobs of every tier that print, several of each at once.
 *
 * @return array<string, string> the class of each
 */
$dispatch = static function (World $w, int $count, int $ms): array {
    $classes = [];
    for ($i = 0; $i < $count; $i++) {
        foreach ([Prints::class, PrintsInline::class, PrintsIsolated::class] as $class) {
            // Those in lanes take turns, at first by themselves: that is where one job follows on another's heels.
            $classes[$w->dispatch(new $class($class === PrintsInline::class && $i % 2 ? 0 : $ms))] = $class;
        }
    }

    return $classes;
};

/** @param array<string, string> $classes */
$expect = static function (World $w, Daemon $daemon, array $classes, array $ways = WAYS, bool $declared = true): void {
    $tiers = [Prints::class => ['pooled', 'inline'], PrintsInline::class => ['inline'], PrintsIsolated::class => ['isolated']];
    $found = [];
    foreach ($daemon->printed() as $line) {
        if (preg_match('/^(\S+) ([0-9a-f-]{36})$/', $line['text'], $own)) {
            $what = "the line \"{$line['text']}\"";
            $w->expectSame($own[2], $line['job'], "job of {$what}");
            $w->expectSame($classes[$own[2]], $line['class'], "class of {$what}");
            $known = $declared ? $tiers[$line['class']] : ['inline', 'pooled', 'isolated'];
            $w->expect(in_array($line['tier'], $known, true), "{$what} says its tier ({$line['tier']})");
            $w->expect($line['worker'] > 0, "{$what} says its worker");
            $found[$own[2]][] = $own[1];
        }
    }
    foreach (array_keys($classes) as $uuid) {
        $have = $found[$uuid] ?? [];
        sort($have);
        sort($ways);
        $w->expectSame($ways, $have, "lines of {$classes[$uuid]} {$uuid}");
    }
};

row('output', 'what jobs of every tier print comes whole, each line with its own job', function (World $w) use ($dispatch, $expect): void {
    $classes = $dispatch($w, 12, 30);
    $daemon = $w->start();
    $w->waitFor('end', count($classes), 60.0);
    $w->expectSame(0, $daemon->stop(), 'exit status');
    $w->expectRuns(count($classes));
    $expect($w, $daemon, $classes);
}, engines: ['kqueue']);

row('output', 'the same where no process is forked', function (World $w) use ($dispatch, $expect): void {
    $classes = $dispatch($w, 3, 30);
    $daemon = $w->start(['start' => 'spawn']);
    $w->waitFor('end', count($classes), 60.0);
    $w->expectSame(0, $daemon->stop(), 'exit status');
    // Without a template, what a class declares may not be known in time for its first jobs.
    $expect($w, $daemon, $classes, declared: false);
}, engines: ['kqueue']);

row('output', 'and where forks share the output of their template', function (World $w) use ($dispatch, $expect): void {
    $classes = $dispatch($w, 6, 30);
    $daemon = $w->start(['php-args' => '-d ffi.enable=0']);
    $w->waitFor('end', count($classes), 60.0);
    $w->expectSame(0, $daemon->stop(), 'exit status');
    // Whose child it was that wrote and was gone at once is not to be known here.
    $lines = array_values(array_diff(WAYS, ['exec', 'proc_open-1', 'proc_open-2']));
    $daemon->forget('/^(exec|proc_open-\d) /');
    $expect($w, $daemon, $classes, $lines);
}, engines: ['kqueue']);

row('output', 'hundreds of quick jobs that follow on each other\'s heels keep their lines', function (World $w) use ($expect): void {
    $classes = [];
    for ($i = 0; $i < 500; $i++) {
        $classes[$w->dispatch(new PrintsInline(briefly: true))] = PrintsInline::class;
    }
    $daemon = $w->start();
    $w->waitFor('end', count($classes), 60.0);
    $w->expectSame(0, $daemon->stop(), 'exit status');
    $expect($w, $daemon, $classes, ['echo']);
}, engines: ['kqueue']);

row('output', 'a log on stderr that the app opened before the fork', function (World $w) use ($expect): void {
    $classes = [];
    foreach ([0, 1, 2] as $i) {
        $classes[$w->dispatch(new PrintsIsolated(200))] = PrintsIsolated::class;
    }
    $file = $w->sandbox->app . '/bootstrap/app.php';
    $early = "\$GLOBALS['early'] = fopen('php://stderr', 'w');\nfwrite(\$GLOBALS['early'], \"early bird\\n\");\nreturn \$app;";
    file_put_contents($file, str_replace('return $app;', $early, (string) file_get_contents($file)));
    $daemon = $w->start();
    $w->waitFor('end', count($classes), 60.0);
    $w->expectSame(0, $daemon->stop(), 'exit status');
    $expect($w, $daemon, $classes, [...WAYS, 'early']);
    $early = array_filter($daemon->printed(), static fn (array $line): bool => str_ends_with($line['text'], 'early bird'));
    $w->expect($early !== [], 'what the app prints while it boots is there too');
    $w->expectSame([null], array_values(array_unique(array_column($early, 'job'))), 'its job');
}, engines: ['kqueue']);
