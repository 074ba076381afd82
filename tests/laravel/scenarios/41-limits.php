<?php

/** Timeouts, tries and backoffs that are written otherwise than one expects. */

declare(strict_types=1);

use App\Jobs\Limited;
use App\Jobs\Throws;
use Kqueue\Tests\World;

row('limits', '$timeout = -1, 0, \'\', false, \'8\', 8.5, null with --timeout=1, jobs of 1.3 s: only null is timed out', function (World $w): void {
    foreach (['minus one' => -1, 'zero' => 0, 'empty' => '', 'false' => false, "'8'" => '8', '8.5' => 8.5, 'null' => null] as $tag => $timeout) {
        $w->dispatch((new Limited())->with(['timeout' => $timeout, 'tries' => 1, 'tag' => $tag]));
    }
    // The grace is none, so that what counts as too long shows at once.
    $w->leftToChance('who ends the process first, Laravel or kqueue');
    $w->work(['timeout' => 1, 'timeout-grace' => 0], 60.0);
    $ended = array_column($w->journal('end'), 'tag');
    sort($ended);
    $w->expectSame(["'8'", '8.5', 'empty', 'false', 'minus one', 'zero'], $ended, 'those that ended');
    $w->expectGone();
    $w->expectFailed(1, 'App\Jobs\Limited');
}, drivers: ['redis']);

row('limits', 'tries = -1, 0, \'2\'; backoff = -5, \'7\', [\'3\', 9]; retryUntil that is past, or in words: as under queue:work', function (World $w): void {
    $cases = [
        // Properties, runs, and whether it has failed then.
        'tries -1' => [['tries' => -1], 0, true],
        'tries 0' => [['tries' => 0], 2, false],
        "tries '2'" => [['tries' => '2'], 2, false],
        'backoff -5' => [['tries' => 2, 'backoff' => -5], 2, false],
        "backoff '7'" => [['tries' => 2, 'backoff' => '7'], 1, false],
        'backoff list' => [['tries' => 3, 'backoff' => ['30', 9]], 1, false],
        'until past' => [['tries' => 3, 'retryUntil' => 1000], 0, true],
        'until words' => [['tries' => 3, 'retryUntil' => '2100-01-01'], 2, false],
    ];
    $uuids = array_map(static fn (array $case): string => $w->dispatch((new Throws(1))->with($case[0])), $cases);
    $w->work();
    foreach ($cases as $name => [, $runs, $fails]) {
        $w->expectSame($runs, count($w->journal('start', $uuids[$name])), "{$name}: runs");
        $w->expectSame($fails, in_array($uuids[$name], array_column($w->failed(), 'uuid'), true), "{$name}: has failed");
    }
    $w->expectQueue(delayed: 2);
}, drivers: ['redis']);
