<?php

/** Limits of classes and queues, as the app's file has them. */

declare(strict_types=1);

use App\Jobs\Plain;
use App\Jobs\Waits;
use Kqueue\Tests\Wait;
use Kqueue\Tests\World;

/** Writes the file with limits. */
$limits = static function (World $w, string $toml): string {
    file_put_contents($file = $w->sandbox->dir . '/limits.toml', $toml);

    return $file;
};

row('quotas', 'a class with max_concurrent 1 never runs twice at once in any tier, others are not held up, and another limit counts from SIGHUP on', function (World $w) use ($limits): void {
    $limit = static fn (int $most): string => "[class.\"App\\\\Jobs\\\\Waits\"]\nmax_concurrent = {$most}\n";
    $file = $limits($w, $limit(1));
    $files = [];
    $dispatch = static function (string ...$tiers) use ($w, &$files): void {
        foreach ($tiers as $tier) {
            $go = $w->sandbox->dir . '/go' . count($files);
            $files[$w->dispatch(new Waits($go, $tier))] = $go;
        }
    };
    $running = static function () use ($w, &$files): array {
        $ended = array_column($w->journal('end'), 'uuid');

        return array_values(array_diff(array_intersect(array_column($w->journal('start'), 'uuid'), array_keys($files)), $ended));
    };
    $plain = 0;
    $othersFlow = static function (int $most) use ($w, $running, &$plain): array {
        $runs = Wait::until(static fn (): ?array => count($found = $running()) >= $most ? $found : null, "{$most} to run");
        $uuids = $w->dispatchMany(new Plain(), 7);
        Wait::until(static fn (): bool => array_diff($uuids, array_column($w->journal('end'), 'uuid')) === [], 'others to end');
        $w->expectSame($most, count($running()), 'jobs of the class that run at once');

        return $runs;
    };

    $dispatch('inline', 'pooled', 'isolated', 'inline', 'pooled');
    $daemon = $w->start(['config' => $file]);
    foreach (range(1, 3) as $i) {
        [$uuid] = $othersFlow(1);
        touch($files[$uuid]);
        $w->waitFor('end', uuid: $uuid);
    }
    $othersFlow(1);
    $dispatch('isolated', 'inline');
    $limits($w, $limit(2));
    $daemon->signal(SIGHUP);
    $othersFlow(2);
    $w->expectContains('max_concurrent = 2', $daemon->output(), 'the log');
    array_map('touch', $files);
    $w->waitForQueue();
    foreach (array_keys($files) as $uuid) {
        $w->expectAttempts([1], $uuid);
    }
    $w->expectFailed(0);
    $w->expectSame(0, $daemon->stop(), 'exit status');
}, engines: ['kqueue']);

row('quotas', 'a rate lets jobs of a queue start one after the other, others flow past them, and none costs an attempt', function (World $w) use ($limits): void {
    $file = $limits($w, "[queue.slow]\nrate = \"2/s\"\nburst = 1\n");
    $slow = $w->dispatchMany(new Plain(), 6, 'slow');
    $daemon = $w->start(['config' => $file, 'queue' => 'slow,default']);
    $w->waitFor('start');
    $other = $w->dispatch(new Plain());
    $w->waitFor('end', 7);
    $starts = [];
    foreach ($slow as $uuid) {
        $w->expectAttempts([1], $uuid);
        $starts[] = $w->journal('start', $uuid)[0]['t'];
    }
    // Five tokens of half a second each; how late a busy machine starts the first one shortens that.
    $w->expect(max($starts) - min($starts) > 1.2, 'six jobs take their time: ' . json_encode($starts));
    $w->expect($w->journal('end', $other)[0]['t'] < max($starts), 'the other queue does not wait for them');
    $w->expectSame(0, $daemon->stop(), 'exit status');
}, engines: ['kqueue']);
