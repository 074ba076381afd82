<?php

/** Restarts, crashes and stops: no job that runs is lost, and none runs twice. */

declare(strict_types=1);

use App\Jobs\Heavy;
use App\Jobs\Plain;
use App\Jobs\Pooled;
use App\Jobs\Quick;
use Kqueue\Tests\Machine\Machine;

/** A pooled and an isolated job that run, and then something happens to whoever started them. */
$survive = static function (Machine $m, Closure $happens): void {
    $m->start();
    $m->must('systemctl start kqueue.service');
    $uuids = $m->dispatchAll([new Pooled(4000), new Heavy(4000)]);
    $m->waitForEffects('start', 2);
    $happens($m);
    $m->waitForEffects('end', 2, seconds: 45);
    $m->expectOnce($uuids);
    $next = $m->dispatchAll([new Quick(1), new Pooled(1), new Heavy(1)]);
    $m->waitForEffects('end', 5);
    $m->expectOnce($next);
};

row('restart', 'systemctl restart of the runtime and of the coordinator: pooled and isolated jobs run on', fn (Machine $m) => $survive($m, function (Machine $m): void {
    [$runtime, $coordinator] = [$m->runtime()->pid(), $m->coordinator()->pid()];
    $m->must('systemctl restart kqueue@shop.service');
    $m->must('systemctl restart kqueue.service');
    $m->expectSame([], $m->effects('end'), 'jobs that had ended by then');
    $m->expect($m->runtime()->pid() !== $runtime && $m->coordinator()->pid() !== $coordinator, 'both are new');
}));

row('kill-runtime', 'SIGKILL of the runtime: pooled and isolated jobs run on, and end once', fn (Machine $m) => $survive($m, function (Machine $m): void {
    $old = $m->runtime()->pid();
    $m->runtime()->kill('KILL');
    $m->runtime()->waitForNewPid($old);
}));

row('kill-coordinator', 'SIGKILL of the coordinator: pooled and isolated jobs run on, and end once', fn (Machine $m) => $survive($m, function (Machine $m): void {
    $old = $m->coordinator()->pid();
    $m->coordinator()->kill('KILL');
    $m->coordinator()->waitForNewPid($old);
}));

row('kill-both', 'SIGKILL of both: pooled and isolated jobs run on, and end once', fn (Machine $m) => $survive($m, function (Machine $m): void {
    [$runtime, $coordinator] = [$m->runtime()->pid(), $m->coordinator()->pid()];
    $m->must('systemctl kill -s KILL --kill-who=main kqueue@shop.service kqueue.service');
    $m->runtime()->waitForNewPid($runtime);
    $m->coordinator()->waitForNewPid($coordinator);
}));

row('outcomes', 'jobs that end while the runtime is down are settled when it is back, not run again', function (Machine $m): void {
    $m->start();
    $uuids = $m->dispatchAll([new Pooled(1500), new Heavy(1500)]);
    $m->waitForEffects('start', 2);
    // Nobody starts it again but the row.
    $m->dropIn('kqueue@shop.service', "[Service]\nRestart=no\n");
    $m->runtime()->kill('KILL');
    $m->waitForEffects('end', 2);
    $m->must('systemctl reset-failed kqueue@shop.service');
    $m->start();
    $m->expectOnce($uuids);
});

row('watchdog', 'a runtime that hangs is restarted by its watchdog, and its running jobs survive', function (Machine $m) use ($survive): void {
    $m->dropIn('kqueue@shop.service', "[Service]\nWatchdogSec=3s\n");
    $survive($m, function (Machine $m): void {
        $since = $m->cursor();
        $old = $m->runtime()->pid();
        $m->runtime()->kill('STOP');
        $m->runtime()->waitForNewPid($old);
        $m->waitForRecord('watchdog', 'kqueue@shop.service', $since, ['_PID' => '1']);
    });
});

row('storm', '500 jobs in all tiers while runtime and coordinator are restarted ten times each: every effect exactly once', function (Machine $m): void {
    $m->start();
    $uuids = [];
    for ($i = 0; $i < 10; $i++) {
        $jobs = [];
        for ($j = 0; $j < 50; $j++) {
            $jobs[] = $j % 10 === 0 ? new Heavy(30) : ($j % 5 === 1 ? new Pooled(40) : new Quick(2));
        }
        array_push($uuids, ...$m->dispatchAll($jobs));
        $m->must('systemctl restart kqueue@shop.service');
        $m->must('systemctl restart kqueue.service');
    }
    $m->waitForEffects('end', 500, seconds: 120);
    $m->expectOnce($uuids);
    $m->waitFor(fn (): bool => $m->unitsLike('kqueue-shop-*.scope') === [], 'the last scope to go', 15, Machine::DEAR);
    $m->expectSame('', trim($m->must('systemctl --failed --no-legend --plain')), 'failed units');
}, seconds: 240);

row('drain', 'stopping the runtime drains it: running jobs finish, waiting ones go back untouched, and no process stays', function (Machine $m): void {
    $m->configure(['max_concurrent_isolated' => 1]);
    $m->start();
    $jobs = $m->dispatchAll([new Heavy(3000), new Pooled(3000), new Quick(3000)]);
    $m->waitForEffects('start', 3);
    $waiting = $m->dispatchAll([new Heavy(1), new Heavy(1)]);
    $m->waitFor(fn (): bool => $m->shop->backend->state()->counts()['ready'] === 0, 'the runtime to hold them all', 10);
    $m->must('systemctl stop kqueue@shop.socket kqueue-control@shop.socket kqueue@shop.service');
    $m->expectSame('success', $m->runtime()->property('Result'), 'Result of the runtime');
    foreach ($jobs as $uuid) {
        $m->expectSame(1, count($m->effects('end', $uuid)), "ends of {$uuid}");
    }
    $state = $m->shop->backend->state();
    $m->expectSame($waiting, array_map(static fn (array $job): string => json_decode($job['payload'], true)['uuid'], $state->ready), 'what went back, in its order');
    $m->expectSame([0, 0], array_column($state->ready, 'attempts'), 'attempts of what went back');
    $m->expectSame(0, $state->counts()['reserved'], 'reserved jobs');
    $m->waitFor(fn (): bool => $m->phpProcesses() === [], 'every PHP process of the app to go', 20, Machine::DEAR);
    $m->expectSame([], $m->unitsLike('kqueue-worker@shop:*.service', 'kqueue-shop-*.scope'), 'units that are left');
});

row('drain-limit', 'a drain is bounded by stop_timeout: what does not finish is killed, and its job not lost', function (Machine $m): void {
    $m->configure(['stop_timeout' => '2s']);
    $m->start();
    $uuid = $m->dispatch((new Heavy(60000))->with(['tries' => 3, 'timeout' => 120]));
    $m->waitForEffects('start');
    $m->must('timeout 60 systemctl stop kqueue@shop.socket kqueue-control@shop.socket kqueue@shop.service');
    $m->waitFor(fn (): bool => $m->phpProcesses() === [], 'every PHP process of the app to go', 20, Machine::DEAR);
    $m->expectSame([], $m->unitsLike('kqueue-worker@shop:*.service', 'kqueue-shop-*.scope'), 'units that are left');
    $counts = $m->shop->backend->state()->counts();
    $m->expectSame(1, array_sum($counts), 'jobs on the queue');
});
