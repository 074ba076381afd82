<?php

/** Limits of classes and queues, as the app's file has them. */

declare(strict_types=1);

use App\Jobs\Long;
use App\Jobs\Metered;
use App\Jobs\OfTenant;
use App\Jobs\Plain;
use App\Jobs\Sleeps;
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

row('quotas', '#[Kqueue\Limit] of a class: one job at once for each value of `by`, over all tiers, before what the file says, without the package', function (World $w) use ($limits): void {
    $file = $limits($w, "[class.\"App\\\\Jobs\\\\Metered\"]\nmax_concurrent = 3\n");
    $files = [];
    foreach ([['inline', 'a'], ['pooled', 'a'], ['isolated', 'a'], ['pooled', 'b'], ['isolated', 'b']] as [$tier, $tenant]) {
        $go = $w->sandbox->dir . '/go' . count($files);
        $files[$w->dispatch(new Metered($go, $tier, $tenant))] = [$go, $tenant];
    }
    $running = static function () use ($w, &$files): array {
        return array_diff(array_column($w->journal('start'), 'uuid'), array_column($w->journal('end'), 'uuid'));
    };
    $daemon = $w->start(['config' => $file]);
    for ($left = count($files); $left > 0; $left--) {
        $tenants = count(array_unique(array_column(array_diff_key($files, array_flip(array_column($w->journal('end'), 'uuid'))), 1)));
        $runs = Wait::until(static fn (): ?array => count($found = $running()) >= $tenants ? array_values($found) : null, "one of each of {$tenants} tenants to run");
        $others = $w->dispatchMany(new Plain(), 3);
        Wait::until(static fn (): bool => array_diff($others, array_column($w->journal('end'), 'uuid')) === [], 'others to end');
        $of = array_map(static fn (string $uuid): string => $files[$uuid][1], array_values($running()));
        $w->expectSame($of, array_values(array_unique($of)), 'tenants of those that run');
        touch($files[$runs[0]][0]);
        $w->waitFor('end', uuid: $runs[0]);
    }
    foreach (array_keys($files) as $uuid) {
        $w->expectAttempts([1], $uuid);
    }
    $w->expectFailed(0);
    $w->expectSame(0, $daemon->stop(), 'exit status');
}, engines: ['kqueue']);

row('quotas', 'the timeout of a class, of a queue, and of all, where a job declares none: each ends at its own', function (World $w) use ($limits): void {
    $file = $limits($w, "timeout = 60\n[class.\"App\\\\Jobs\\\\Sleeps\"]\ntimeout = 1\n[queue.brief]\ntimeout = 2\n");
    $w->dispatch(new Sleeps(20_000));
    $w->dispatch(new Long(20_000), 'brief');
    $plain = $w->dispatch(new Plain());
    $daemon = $w->start(['config' => $file, 'queue' => 'default,brief']);
    $w->waitFor('end', uuid: $plain);
    $w->waitFor('failed', 2);
    $at = static fn (string $kind): array => array_column($w->journal($kind), 't', 'class');
    $took = ['Sleeps' => $at('failed')['Sleeps'] - $at('start')['Sleeps'], 'Long' => $at('failed')['Long'] - $at('start')['Long']];
    $w->expect($took['Sleeps'] > 0.9 && $took['Long'] > 1.9 && max($took) < 15, 'each has its time: ' . json_encode($took));
    $w->expectSame(0, $daemon->stop(), 'exit status');
    $w->expectFailed(2);
}, engines: ['kqueue']);

row('tenants', 'fair_by: 100,000 jobs of one tenant (10,000 in a database) do not hold up a job of another by more than one job', function (World $w) use ($limits): void {
    $file = $limits($w, "fair_by = \"tenant\"\n");
    $large = new OfTenant(300, 'large');
    $w->dispatchMany($large, 2_000);
    $early = $w->dispatch(new OfTenant(5, 'early'));
    $w->dispatchMany($large, $w->isInDatabase() ? 8_000 : 98_000);
    $last = $w->dispatch(new OfTenant(5, 'last'));
    $daemon = $w->start(['config' => $file]);
    // The whole queue is looked through once; the end of a list is first.
    $w->waitFor('start', seconds: 60.0, uuid: $early);
    $w->waitFor('start', seconds: 60.0, uuid: $last);
    $w->expect($w->size() > 5_000, 'most of the queue is still there');
    foreach (['one', 'two', 'three'] as $tenant) {
        $at = microtime(true);
        $uuid = $w->dispatch(new OfTenant(5, $tenant));
        $w->dispatchMany($large, 100);
        $w->waitFor('start', uuid: $uuid);
        $starts = $w->journal('start');
        $then = $w->journal('start', $uuid)[0]['t'];
        // Each process ends what it has, and may begin something before anybody has looked.
        $before = array_filter($starts, static fn (array $start): bool => $start['t'] > $at && $start['t'] < $then);
        $most = 8 * count(array_unique(array_column($starts, 'pid')));
        $w->expect(count($before) <= $most, count($before) . " jobs have started before that of {$tenant}, and {$most} may");
        $w->expectAttempts([1], $uuid);
    }
    $w->expectSame(0, $daemon->stop(30.0), 'exit status');
    $w->expectFailed(0);
}, engines: ['kqueue'], env: ['RECORD' => 'false'], tiers: false);
