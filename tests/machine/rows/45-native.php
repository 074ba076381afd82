<?php

/** Workers that take jobs off the queue by themselves: as units they outlive the runtime with what they have taken. */

declare(strict_types=1);

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
        $left = (int) TestApp::database($m->shop->dir)->query('select count(*) from jobs')->fetchColumn();
        $m->expectSame(0, $left, 'rows that are left in the jobs table');
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
