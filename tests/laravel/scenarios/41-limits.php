<?php

/** Timeouts, tries and backoffs that are written otherwise than one expects. */

declare(strict_types=1);

use App\Jobs\Limited;
use App\Jobs\Throws;
use Kqueue\Tests\World;

row('limits', '$timeout = -1, 0, \'\', false, \'8\', 8.5, null with --timeout=1, jobs of 1.3 s: only null is timed out', function (World $w): void {
    foreach (['-1' => -1, '0' => 0, 'empty' => '', 'false' => false, "'8'" => '8', '8.5' => 8.5, 'null' => null] as $tag => $timeout) {
        $w->dispatch((new Limited())->with(['timeout' => $timeout, 'tries' => 1, 'tag' => $tag]));
    }
    // The grace is none, so that what counts as too long shows at once.
    $w->work(['timeout' => 1, 'timeout-grace' => 0], 60.0);
    $ended = array_column($w->journal('end'), 'tag');
    sort($ended);
    $w->expectSame(["'8'", '-1', '0', '8.5', 'empty', 'false'], $ended, 'those that ended');
    $w->expectGone();
    $w->expectFailed(1, $w->timeoutException());
}, drivers: ['redis']);

row('limits', 'tries = -1, 0, \'2\'; backoff = -5, \'7\', [\'3\', 9]; retryUntil that is past, or in words: as under queue:work', function (World $w): void {
    $cases = [
        'tries -1' => ['tries' => -1], 'tries 0' => ['tries' => 0], "tries '2'" => ['tries' => '2'],
        'backoff -5' => ['tries' => 2, 'backoff' => -5], "backoff '7'" => ['tries' => 2, 'backoff' => '7'], 'backoff list' => ['tries' => 3, 'backoff' => ['3', 9]],
        'until past' => ['tries' => 3, 'retryUntil' => 1000], 'until words' => ['tries' => 3, 'retryUntil' => '2100-01-01'],
    ];
    $uuids = array_map(static fn (array $properties): string => $w->dispatch((new Throws())->with($properties + ['tag' => 'limits'])), $cases);
    $w->leftToChance('some are released at once, and run as often as there is time for');
    $daemon = $w->start();
    foreach ($uuids as $uuid) {
        $w->waitFor('event', 1, uuid: $uuid);
    }
    $daemon->stop();
    foreach ($cases as $name => $properties) {
        $runs = count($w->journal('start', $uuids[$name]));
        $failed = in_array($uuids[$name], array_column($w->failed(), 'uuid'), true);
        in_array($name, ['until past'], true)
            ? $w->expectSame([0, true], [$runs, $failed], $name)
            : $w->expect($runs >= 1, "{$name} has run");
    }
}, drivers: ['redis']);
