<?php

/** What one job leaves in its process, and how much of it the next one finds: not more than under stock. */

declare(strict_types=1);

use App\Jobs\InContext;
use App\Jobs\Traces;
use App\Jobs\TracesInline;
use App\Jobs\TracesIsolated;
use App\Jobs\TracesPooled;
use Illuminate\Support\Facades\Context;
use Kqueue\Tests\Wait;
use Kqueue\Tests\World;

$crash = ['crash' => 'laravel'];

/** The line of the app's log that holds this. */
$line = static function (World $w, string $text): string {
    $lines = array_values(array_filter(explode("\n", $w->sandbox->log()), static fn (string $line): bool => str_contains($line, $text)));
    $w->expectSame(1, count($lines), "lines with '{$text}' in the log");

    return $lines[0];
};

/** What the job of this name found, and where it ran. */
$found = static fn (World $w, string $tag): array => array_column($w->journal('traces'), null, 'tag')[$tag];

/** Runs jobs one after the other in one engine. */
$inTurn = static function (World $w, object ...$jobs): void {
    $daemon = $w->start();
    foreach ($jobs as $job) {
        $w->waitFor('end', uuid: $w->dispatch($job));
        $w->waitForQueue();
    }
    $daemon->stop();
};

row(41, 'context of the dispatch: there in the job and in failed(), hidden or not, and gone for the next job', function (World $w) use ($line): void {
    Context::add('visible', 'v');
    Context::addHidden('hidden', 'h');
    $uuid = $w->dispatch((new InContext('throw'))->with(['tag' => 'a', 'tries' => 1]));
    Context::flush();
    $daemon = $w->start();
    $w->waitFor('context in failed()');
    $w->waitForQueue();
    $next = $w->dispatch((new InContext())->with(['tag' => 'b']));
    $w->waitFor('end', uuid: $next);
    $w->waitForQueue();
    $daemon->stop();
    $context = array_column($w->journal('context'), null, 'tag');
    $w->expectSame([['visible' => 'v'], ['hidden' => 'h']], [$context['a']['all'], $context['a']['hidden']], 'context of the job');
    $w->expectSame([[], []], [$context['b']['all'], $context['b']['hidden']], 'context of the next job');
    $failed = $w->journal('context in failed()');
    $w->expectSame(1, count($failed), 'calls of failed()');
    $w->expectSame([['visible' => 'v', 'added' => 'a'], ['hidden' => 'h', 'added' => 'a']], [$failed[0]['all'], $failed[0]['hidden']], 'context in failed()');
    $w->expectContains('{"visible":"v"}', $line($w, 'in the context of a'), 'the line that the job logged');
    $w->expect(! str_contains($line($w, 'in the context of b'), '"v"'), 'the line of the next job has no such context');
    $w->expectGone();
    $w->expectFailed(1, 'thrown on purpose', $uuid);
}, since: '11');

row(41, 'context of the dispatch: there in failed() too when the process has died', function (World $w): void {
    Context::add('visible', 'v');
    Context::addHidden('hidden', 'h');
    $w->dispatch((new InContext('exit'))->with(['tag' => 'a', 'tries' => 1]));
    Context::flush();
    $w->work();
    $w->differsWhereHeld(
        'a crash is replayed at once',
        stock: function () use ($w): void {
            $w->expectQueue(reserved: 1, attempts: 1);
            $w->expireLeases();
            $w->work();
        },
        kqueue: fn () => $w->expectQueue(),
    );
    $failed = $w->journal('context in failed()');
    $w->expectSame(1, count($failed), 'calls of failed()');
    $w->expectSame([['visible' => 'v'], ['hidden' => 'h']], [$failed[0]['all'], $failed[0]['hidden']], 'context in failed()');
    $w->expectGone();
    $w->expectFailed(1);
}, since: '11', back: $crash);

row(42, 'log context, scoped bindings and facades are new for each job; statics, singletons, config and locale stay with the process', function (World $w) use ($line, $found, $inTurn): void {
    $inTurn($w, (new Traces())->with(['tag' => 'a']), (new Traces())->with(['tag' => 'b']));
    [$a, $b] = [$found($w, 'a'), $found($w, 'b')];
    $w->expectSame([[], []], [$a['reset'], $a['kept']], 'what the first job found');
    $w->expectSame([], $b['reset'], 'what Laravel resets');
    $kept = ['static' => 'a', 'singleton' => 'a', 'config' => 'a', 'locale' => 'nl', 'timezone' => 'Europe/Amsterdam'];
    $w->differs(
        'kqueue may run the second job in another process, where there is nothing to find',
        stock: fn () => $w->expectSame([$a['pid'], $kept], [$b['pid'], $b['kept']], 'what Laravel does not reset'),
        kqueue: fn () => $w->expectSame($a['pid'] === $b['pid'] ? $kept : [], $b['kept'], 'what Laravel does not reset'),
    );
    foreach (['"context"', '"shared"'] as $key) {
        $w->expect(! str_contains($line($w, 'written by b'), $key), "the second job logs without {$key}");
    }
    $w->expectSame(['a'], $b['users'], 'what the first job has written');
});

row('tiers', 'what a job leaves in its process is found by no job of another tier, nor by any after an isolated one', function (World $w) use ($found, $inTurn): void {
    $classes = ['inline' => TracesInline::class, 'pooled' => TracesPooled::class, 'isolated' => TracesIsolated::class];
    $jobs = [];
    foreach ([1, 2] as $round) {
        foreach ($classes as $tier => $class) {
            $jobs[] = (new $class())->with(['tag' => "{$tier} {$round}"]);
        }
    }
    $inTurn($w, ...$jobs);
    foreach ($classes as $tier => $class) {
        [$first, $second] = [$found($w, "{$tier} 1"), $found($w, "{$tier} 2")];
        $w->expectSame([[], []], [$first['reset'], $first['kept']], "what the first {$tier} job found");
        $w->expectSame([], $second['reset'], "what Laravel resets, for the second {$tier} job");
        $w->expectSame($first['pid'] === $second['pid'] ? "{$tier} 1" : null, $second['kept']['static'] ?? null, "what the second {$tier} job found");
        $w->expect($tier !== 'isolated' || $first['pid'] !== $second['pid'], 'each isolated job has a process of its own');
    }
}, engines: ['kqueue']);

row(85, 'an isolated job that leaves traces, connections and a transaction behind, and exits: nothing of it reaches the jobs after it', function (World $w) use ($found): void {
    $uuid = $w->dispatch((new TracesIsolated(open: true, exit: 3))->with(['tag' => 'a', 'tries' => 1]));
    $w->work();
    $w->differsWhereHeld(
        'a crash is replayed at once',
        stock: fn () => $w->expectQueue(reserved: 1, attempts: 1),
        kqueue: fn () => $w->expectFailed(1, 'exit', $uuid),
    );
    $daemon = $w->start();
    // Isolated, as the first; and one of each kind that the same template is the parent of.
    foreach (['b' => TracesIsolated::class, 'c' => TracesInline::class, 'd' => Traces::class] as $tag => $class) {
        $w->waitFor('end', uuid: $w->dispatch((new $class())->with(['tag' => $tag])));
        // The harness does not write to SQLite while a stock worker does.
        $w->waitForQueue(reserved: $w->actsAsStock() || $w->isNative() ? 1 : 0);
    }
    $daemon->stop();
    foreach (['b' => [], 'c' => ['b'], 'd' => ['b', 'c']] as $tag => $users) {
        $traces = $found($w, $tag);
        $w->expectSame([], $traces['reset'], "what Laravel resets, for {$tag}");
        $w->expect(! in_array('a', $traces['kept'], true), "no trace of the first job for {$tag}");
        $w->expectSame(0, $traces['level'], "transactions open for {$tag}");
        $w->expectSame($users, $traces['users'], "rows that {$tag} found");
        $w->expectSame($tag, $w->laravel['cache']->get("by-{$tag}"), "what {$tag} has put into the cache");
    }
    $w->leftToChance('which of the later jobs run in one process, and what they find of each other');
}, back: $crash);

row('open', 'a transaction that a job leaves open: the next job is not in it, and loses nothing with it', function (World $w) use ($found): void {
    $first = $w->dispatch((new Traces(open: true))->with(['tag' => 'a', 'tries' => 2]));
    $second = $w->dispatch((new Traces())->with(['tag' => 'b']));
    // One at a time: who else would write to SQLite meanwhile waits for the transaction's end.
    $w->work(['pool-size' => 1, 'pool-max-size' => 1, 'max-concurrent-inline' => 1, 'max-concurrent-pooled' => 1, 'max-concurrent-isolated' => 1]);
    $w->expectAttempts([1], $first);
    $w->expectAttempts([1], $second);
    $w->expectFailed(0);
    $names = $w->sandbox->database()->query('select name from users')->fetchAll(PDO::FETCH_COLUMN);
    $seen = [$found($w, 'b')['level'], $found($w, 'b')['users']];
    $database = $w->isInDatabase();
    $w->differs(
        'under stock the next job runs inside the transaction, and what it has written goes with it; kqueue ends a process that holds one',
        stock: function () use ($w, $names, $seen, $database): void {
            $w->expectSame([1, ['a']], $seen, 'open transactions and rows that the second job found');
            $w->expectSame([], $names, 'rows in the end');
            // Even that the second was taken and run is rolled back, where the queue is in the same database.
            $w->expectQueue(ready: $database ? 1 : 0, reserved: $database ? 1 : 0);
        },
        kqueue: function () use ($w, $names, $seen, $database): void {
            $w->expectSame([0, []], $seen, 'open transactions and rows that the second job found');
            $w->expectSame(['b'], $names, 'rows in the end');
            $w->expectQueue(reserved: $database ? 1 : 0);
            // An isolated process ends anyway.
            str_contains($w->output(), ' isolated ') || $w->expectContains('left a transaction open', $w->output(), 'kqueue\'s log');
        },
    );
});
