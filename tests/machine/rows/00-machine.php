<?php

/** The machine itself, before anything is asked of kqueue's units. */

declare(strict_types=1);

use App\Jobs\Heavy;
use App\Jobs\Plain;
use App\Jobs\Throws;
use Kqueue\Tests\Machine\Machine;

row('boots', 'the machine is up with every unit of it, and Redis answers the app', function (Machine $m): void {
    // The row itself runs before the machine has wholly come up where it is a unit.
    $m->expectSame('', trim($m->must('systemctl --failed --no-legend --plain')), 'failed units');
    $m->expectSame(['bookworm' => 252, 'trixie' => 257][$m->os], $m->systemd, 'version of systemd');
    $uuid = $m->dispatch(new Plain());
    $m->expectSame($uuid, json_decode($m->shop->backend->state()->ready[0]['payload'], true)['uuid'], 'the job on the queue');
}, layers: ['container', 'vm']);

row('limits', 'a scope over its memory limit ends with oom-kill, without kqueue having a part in it', function (Machine $m): void {
    $since = $m->cursor();
    $eat = escapeshellarg('ini_set("memory_limit", "-1"); $s = str_repeat("x", 300 << 20);');
    $outcome = $m->sh("systemd-run --quiet --scope --unit=kqueue-shop-try -p MemoryMax=64M -p MemorySwapMax=0 php -r {$eat}");
    $m->expect(! $outcome->ok(), 'it was killed');
    $m->waitForRecord("Failed with result 'oom-kill'", 'kqueue-shop-try.scope', $since);
    $m->expectSame('oom-kill', $m->scopes($since)['kqueue-shop-try.scope']->result, 'the result');
}, layers: ['vm']);

row('process-launcher', 'kqueue run, with plain child processes, runs jobs of the app as its user', function (Machine $m): void {
    $run = $m->background('kqueue run shop --launcher process --state-dir /tmp/shop-state --runtime-dir /tmp/shop-run', as: 'shop');
    $uuids = [$m->dispatch(new Plain()), $m->dispatch(new Heavy(10))];
    $m->waitForEffects('end', 2);
    $failing = $m->dispatch((new Throws())->with(['tries' => 1]));
    $m->expectContains('thrown on purpose', $m->waitForFailedJob($failing)['exception'], 'the exception');
    $m->must("systemctl stop {$run['unit']}");
    foreach ($uuids as $uuid) {
        $m->expectSame(1, count($m->effects('end', $uuid)), "ends of {$uuid}");
    }
}, layers: ['container', 'vm']);
