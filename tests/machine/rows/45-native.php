<?php

/** Workers that take jobs off the queue by themselves: as units they outlive the runtime with what they have taken. */

declare(strict_types=1);

use App\Jobs\Bounded;
use App\Jobs\Hungry;
use App\Jobs\Plain;
use App\Jobs\Pooled;
use Kqueue\Tests\Machine\Machine;
use Kqueue\Tests\TestApp;

/** The app's queue is its own class for the time of the row. */
$own = static function (Machine $m, Closure $row): void {
    $file = $m->shop->dir . '/.env';
    $env = (string) file_get_contents($file);
    file_put_contents($file, str_replace('QUEUE_CONNECTION="redis"', 'QUEUE_CONNECTION="own"', $env));
    $m->shop->hangUp();
    try {
        $m->configure(['connection' => 'own']);
        $row($m);
        // A row goes after the job's last effect.
        $left = static fn (): int => (int) TestApp::database($m->shop->dir)->query('select count(*) from jobs')->fetchColumn();
        $m->waitFor(static fn (): bool => $left() === 0, 'no row to be left in the jobs table', 20, Machine::DEAR);
    } finally {
        file_put_contents($file, $env);
        $m->shop->hangUp();
    }
};

row('native-restart', 'restart and SIGKILL of the runtime: what workers have popped runs on, and is settled once', fn (Machine $m) => $own($m, function (Machine $m): void {
    $m->start();
    $uuids = $m->dispatchAll([new Pooled(6000), new Pooled(6000)]);
    $m->waitForEffects('start', 2);
    $m->must('systemctl restart kqueue@shop.service');
    $m->expectSame([], $m->effects('end'), 'jobs that had ended by then');
    $old = $m->runtime()->pid();
    $m->runtime()->kill('KILL');
    $m->runtime()->waitForNewPid($old);
    $m->waitForEffects('end', 2, seconds: 45);
    $next = $m->dispatchAll([new Plain(), new Plain()]);
    $m->waitForEffects('end', 4);
    $m->expectOnce([...$uuids, ...$next]);
}));

row('native-storm', 'jobs while the runtime is restarted again and again: every effect exactly once', fn (Machine $m) => $own($m, function (Machine $m): void {
    $m->start();
    $uuids = [];
    for ($i = 0; $i < 6; $i++) {
        array_push($uuids, ...$m->dispatchAll(array_fill(0, 15, new Pooled(30))));
        $m->must('systemctl restart kqueue@shop.service');
    }
    $m->waitForEffects('end', count($uuids), seconds: 90);
    $m->expectOnce($uuids);
    $m->expectSame('', trim($m->must('systemctl --failed --no-legend --plain')), 'failed units');
}));

row('native-scope', 'a class that is to run isolated runs in the worker that has popped it, moved into a scope with its limits; over a SIGKILL of the runtime, and nothing is left', fn (Machine $m) => $own($m, function (Machine $m): void {
    $m->start();
    $uuid = $m->dispatch((new Bounded(3000))->with(['timeout' => 20]));
    $pid = $m->waitForEffects('start')[0]['pid'];
    $scope = $m->unit($m->unitOf($pid));
    $m->expectSame($m->waitForScope(), $scope->name, 'the scope that the job is in');
    $m->expectSame((string) (96 << 20), $scope->property('MemoryMax'), 'MemoryMax');
    $most = $scope->seconds('RuntimeMaxUSec');
    $m->expect($most >= 20 && $most <= 60, "RuntimeMaxSec is past the timeout of 20 s, and not far past it (it is {$most} s)");
    $services = $m->unitsLike('kqueue-worker@shop:*.service');
    $mine = array_filter($services, static fn (string $name): bool => $m->unit($name)->property('MainPID') === (string) $pid);
    $m->expectSame(1, count($mine), 'services whose main process it still is');
    $m->waitForEffects('end');
    $m->expectOnce([$uuid]);
    $isGone = static fn (int $pid): bool => $m->unitsLike('kqueue-shop-*.scope') === [] && ! posix_kill($pid, 0);
    $m->waitFor(static fn (): bool => $isGone($pid), 'the scope and its process to go', 15, Machine::DEAR);
    // One that another runtime is to hear of.
    $second = $m->dispatch(new Bounded(4000));
    $pid = $m->waitForEffects('start', 2)[1]['pid'];
    $old = $m->runtime()->pid();
    $m->runtime()->kill('KILL');
    $m->runtime()->waitForNewPid($old);
    $next = $m->dispatchAll([new Plain(), new Bounded(1)]);
    $m->waitForEffects('end', 4, seconds: 45);
    $m->expectOnce([$uuid, $second, ...$next]);
    $m->waitFor(static fn (): bool => $isGone($pid), 'the scope and its process to go', 15, Machine::DEAR);
    $m->expectSame('', trim($m->must('systemctl --failed --no-legend --plain')), 'failed units');
}));

row('native-oom', 'a popped job takes more than maxMemory: its scope is killed, not its neighbours, and the record says so', fn (Machine $m) => $own($m, function (Machine $m): void {
    $since = $m->cursor();
    $m->start();
    $uuid = $m->dispatch((new Hungry(300, how: 'child'))->with(['tries' => 1]));
    $record = $m->waitForRecord('oom-kill at 64 MB', 'kqueue@shop.service', $since, ['KQUEUE_JOB' => $uuid]);
    $m->expect((bool) preg_match('/peak \d+ MB/', $record['MESSAGE']), 'the record names the peak');
    $next = $m->dispatch(new Plain());
    $m->waitForEffects('end', 1, $next);
    $m->waitFor(fn (): bool => $m->unitsLike('kqueue-shop-*.scope') === [], 'the scope to go', 15, Machine::DEAR);
    // It comes back after its lease, which ends now, and Laravel fails it.
    TestApp::database($m->shop->dir)->exec('update jobs set reserved_at = reserved_at - 100');
    $m->waitForFailedJob($uuid);
}), layers: ['vm']);
