<?php

/** The three tiers as units: what runs where, within which limits, and that nothing is left. */

declare(strict_types=1);

use App\Jobs\Bounded;
use App\Jobs\Heavy;
use App\Jobs\Plain;
use App\Jobs\Pooled;
use App\Jobs\Quick;
use Kqueue\Tests\Machine\Machine;

row('tiers', 'jobs of all three tiers run, each in its own kind of unit', function (Machine $m): void {
    $since = $m->cursor();
    $m->start();
    $uuids = $m->dispatchAll([new Quick(1), new Pooled(1), new Heavy(1), new Plain()]);
    $m->waitForEffects('end', 4);
    $m->expectOnce($uuids);
    $m->expectSame(1, count($m->scopes($since)), 'scopes that came');
}, layers: ['container', 'vm']);

row('scope', 'the scope of an isolated job carries the limits of the job, the settings and the defaults', function (Machine $m): void {
    $m->configure(['isolated_tasks_max' => 77, 'isolated_cpu_weight' => 50, 'timeout_grace' => '3s']);
    $m->start();
    $uuid = $m->dispatch((new Bounded(3000))->with(['timeout' => 20]));
    $pid = $m->waitForEffects('start')[0]['pid'];
    $scope = $m->unit($m->unitOf($pid));
    $m->expectSame($m->waitForScope(), $scope->name, 'the scope that the job is in');
    $now = $scope->properties();
    $want = [
        'MemoryMax' => (string) (96 << 20), 'MemorySwapMax' => '0', 'TasksMax' => '77', 'CPUWeight' => '50', 'IOWeight' => '100',
        'Slice' => 'kqueue-shop.slice', 'CollectMode' => 'inactive-or-failed', 'ActiveState' => 'active',
    ];
    if ($m->systemd >= 253) {
        $want['OOMPolicy'] = 'kill';
    }
    foreach ($want as $name => $value) {
        $m->expectSame($value, $now[$name] ?? null, $name);
    }
    $most = $scope->seconds('RuntimeMaxUSec');
    $m->expect($most >= 23 && $most <= 60, "RuntimeMaxSec is past the timeout of 20 s and its grace, and not far past it (it is {$most} s)");
    $m->expect($scope->seconds('TimeoutStopUSec') <= 15, 'what does not end when asked does not stay long');
    $m->waitForEffects('end');
    $m->expectOnce([$uuid]);
    $m->waitFor(fn (): bool => $m->unitsLike('kqueue-shop-*.scope') === [], 'the scope to go', 15, Machine::DEAR);
});

row('caps', 'no job gets more than root\'s settings allow', function (Machine $m): void {
    $m->configure(['isolated_memory_cap' => 64, 'isolated_time_cap' => '10s']);
    $m->start();
    $uuid = $m->dispatch((new Bounded(2000))->with(['timeout' => 500]));
    $scope = $m->unit($m->unitOf($m->waitForEffects('start')[0]['pid']));
    $m->expectSame((string) (64 << 20), $scope->property('MemoryMax'), 'MemoryMax');
    $m->expect($scope->seconds('RuntimeMaxUSec') <= 20, 'RuntimeMaxSec');
    $m->waitForEffects('end');
    $m->expectOnce([$uuid]);
});

row('hundred', 'a hundred isolated jobs, five at a time: a hundred scopes came and went, none failed, none is left', function (Machine $m): void {
    $m->configure(['max_concurrent_isolated' => 5]);
    $m->start();
    $since = $m->cursor();
    $uuids = $m->dispatchAll(array_map(static fn (): Heavy => new Heavy(50), range(1, 100)));
    $m->waitForEffects('end', 100, seconds: 60);
    $m->expectOnce($uuids);
    $m->waitFor(fn (): bool => $m->unitsLike('kqueue-shop-*.scope') === [], 'the last scope to go', 15, Machine::DEAR);
    $scopes = $m->waitFor(function () use ($m, $since): array|false {
        $scopes = $m->scopes($since);

        return count(array_filter(array_column($scopes, 'result'))) === 100 ? $scopes : false;
    }, 'the end of a hundred scopes in the journal', 15, 2 * Machine::DEAR);
    $m->expectSame(['success' => 100], array_count_values(array_column($scopes, 'result')), 'how they ended');
    $m->expectSame('', trim($m->must('systemctl --failed --no-legend --plain')), 'failed units');
    // Five at a time: in the order of the journal of the jobs, never six without an end.
    $open = $most = 0;
    foreach ($m->effects() as $fact) {
        $open += ['start' => 1, 'end' => -1][$fact['what']] ?? 0;
        $most = max($most, $open);
    }
    $m->expect($most <= 5 && $most >= 2, "five at a time (there were {$most})");
});

row('pool', 'the pool grows to pool_size with demand, to pool_max_size under pressure, and back', function (Machine $m): void {
    $m->configure(['pool_min_idle' => 1, 'pool_size' => 2, 'pool_max_size' => 3]);
    $m->start();
    $running = fn (): int => count($m->workers());
    $m->waitFor(fn (): bool => $running() === 1, 'one warm worker', 30, Machine::DEAR);
    $uuids = $m->dispatchAll([new Pooled(1500), new Pooled(1500)]);
    $m->waitForEffects('start', 2);
    $m->expectSame(2, $running(), 'workers with demand');
    $uuids = [...$uuids, ...$m->dispatchAll(array_map(static fn (): Pooled => new Pooled(1500), range(1, 6)))];
    $m->waitFor(fn (): bool => $running() === 3, 'a third worker under pressure', 30, Machine::DEAR);
    foreach ($m->workers() as $worker) {
        $unit = $m->unit($worker);
        $unit->waitFor('ActiveState', 'active');
        $m->expect($unit->property('Type') === 'notify', "{$worker} says itself when it is ready");
        $m->expect(in_array($unit->property('User'), ['shop', (string) posix_getpwnam('shop')['uid']], true), "{$worker} runs as the app's user");
        $m->expect($unit->property('MemoryMax') !== 'infinity', "{$worker} has a limit of memory");
    }
    $m->waitForEffects('end', 8);
    $m->expectOnce($uuids);
    $m->waitFor(fn (): bool => $running() === 1, 'the pool to shrink', 75, 4 * Machine::DEAR);
}, seconds: 150);

row('crash-loop', 'pooled workers that do not start are retried with a growing delay, and start once they can', function (Machine $m): void {
    $m->configure(['pool_min_idle' => 1, 'pool_size' => 1, 'pool_max_size' => 1]);
    $m->start();
    $m->waitFor(fn (): bool => count($m->workers()) === 1, 'a warm worker', 30, Machine::DEAR);
    $since = $m->cursor();
    touch('/srv/shop/broken-boot');
    $m->must('systemctl kill -s KILL "kqueue-worker@shop:*.service"');
    $starts = static fn (): array => array_column(array_filter(
        $m->journal(null, $since, ['_PID' => '1']),
        // SD_MESSAGE_UNIT_STARTING
        static fn (array $r): bool => ($r['MESSAGE_ID'] ?? '') === '7d4958e842da4a758f6c1cdc7b36dcc5' && str_starts_with($r['UNIT'], 'kqueue-worker@shop:'),
    ), '__MONOTONIC_TIMESTAMP');
    $times = $m->waitFor(static fn (): array|false => count($starts()) >= 4 ? $starts() : false, 'four more tries', 60, 4 * Machine::DEAR);
    $m->expect($times[3] - $times[2] > $times[1] - $times[0], 'the tries get rarer');
    unlink('/srv/shop/broken-boot');
    $uuid = $m->dispatch(new Pooled(1));
    $m->waitForEffects('end', seconds: 75);
    $m->expectOnce([$uuid]);
}, seconds: 180);

row('deadline', 'a pooled worker that is not ready in time is killed, and another one is started', function (Machine $m): void {
    $since = $m->cursor();
    touch('/srv/shop/endless-boot');
    // The template boots: it is the workers that never get there.
    $m->dropIn('kqueue-worker@.service', "[Service]\nEnvironment=KQUEUE_TEST_ENDLESS=1\n");
    $m->configure(['pool_min_idle' => 1, 'pool_size' => 1, 'pool_max_size' => 1, 'boot_timeout' => '3s']);
    $m->start();
    $m->waitForRecord('was not ready within 3 s', 'kqueue@shop.service', $since);
    // And systemd itself, were the runtime not there.
    $m->expectSame('3s', $m->unit('kqueue-worker@shop:1.service')->property('TimeoutStartUSec'), 'TimeoutStartUSec');
    unlink('/srv/shop/endless-boot');
    $uuid = $m->dispatch(new Pooled(1));
    $m->waitForEffects('end', seconds: 60);
    $m->expectOnce([$uuid]);
}, seconds: 120);

row('reload', 'systemctl reload takes new settings and replaces the workers one by one, without effect on jobs', function (Machine $m): void {
    $m->configure(['pool_min_idle' => 2, 'pool_size' => 2, 'pool_max_size' => 4]);
    $m->start();
    $pids = function () use ($m): array {
        $pids = array_filter(array_map(static fn (string $name): int => $m->unit($name)->isActive() ? $m->unit($name)->pid() : 0, $m->workers()));
        sort($pids);

        return $pids;
    };
    $old = $m->waitFor(static fn (): array|false => count($pids()) === 2 ? $pids() : false, 'two workers', 30, Machine::DEAR);
    $uuid = $m->dispatch(new Pooled(3000));
    $busy = $m->waitForEffects('start')[0]['pid'];
    $runtime = $m->runtime()->pid();
    $m->configure(['pool_min_idle' => 3, 'pool_size' => 3, 'pool_max_size' => 4]);
    $m->must('systemctl reload kqueue@shop.service');
    $seen = [];
    $m->waitFor(static function () use ($m, $pids, $old, $busy, &$seen): bool {
        $now = $pids();
        $seen[] = count($now);
        // The busy one stays until it is done.
        if ($m->effects('end') === []) {
            $m->expect(in_array($busy, $now, true), 'the worker with a job is left alone');
        }

        return count($now) === 3 && array_intersect($old, $now) === [];
    }, 'three new workers', 45, Machine::DEAR);
    $m->expect(min($seen) >= 1, 'there was a worker at every moment');
    $m->expectSame($runtime, $m->runtime()->pid(), 'the runtime');
    $m->expectOnce([$uuid]);
});
