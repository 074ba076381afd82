<?php

/** Sockets, activation, who may connect, and what the units are allowed. */

declare(strict_types=1);

use App\Jobs\Heavy;
use App\Jobs\Pooled;
use App\Jobs\Quick;
use Kqueue\Tests\Machine\Machine;

/** Tries to connect to a socket as somebody. */
$reach = static fn (Machine $m, string $socket, string $as): bool => $m->sh(
    'php -r ' . escapeshellarg("exit(@stream_socket_client('unix:///run/kqueue/{$socket}') ? 0 : 1);"),
    as: $as,
)->ok();

row('verify', 'systemd-analyze verify has no complaint about the units', function (Machine $m): void {
    // Templates, then instances with what the generator has made for them; but no worker's, whose colon is
    // syntax to this command.
    $units = '/usr/lib/systemd/system/kqueue*.service /usr/lib/systemd/system/kqueue*.socket /usr/lib/systemd/system/kqueue*.slice /usr/lib/systemd/system/kqueue*.timer'
        . ' kqueue@shop.service kqueue@shop.socket kqueue-control@shop.socket kqueue-schedule@shop.timer kqueue-schedule@shop.service kqueue-alert@shop.service';
    $outcome = $m->sh("systemd-analyze verify --man=no --recursive-errors=no {$units}");
    $m->expectSame('', trim($outcome->text()), 'what it said');
    $m->expectSame(0, $outcome->status, 'its status');
});

row('security', 'systemd-analyze security: the coordinator at most 0.9, units that run PHP at most 3.6', function (Machine $m): void {
    foreach (['kqueue.service' => 9, 'kqueue@shop.service' => 36, 'kqueue-worker@shop:1.service' => 36, 'kqueue-schedule@shop.service' => 36, 'kqueue-alert@shop.service' => 36] as $unit => $most) {
        $outcome = $m->sh("systemd-analyze security --no-pager --threshold={$most} {$unit}");
        $lines = array_filter(explode("\n", trim($outcome->text())));
        $m->expect($outcome->ok(), "{$unit} at most " . $most / 10 . ': ' . end($lines));
    }
});

row('sockets', 'sockets exist before any service runs, each with its owner, group and mode', function (Machine $m) use ($reach): void {
    $m->expectSame('inactive', $m->runtime()->state(), 'the runtime');
    $facts = static fn (string $socket): string => trim($m->must("stat -c '%a %U %G' /run/kqueue/{$socket}"));
    $m->expectSame('600 shop shop', $facts('shop.worker.sock'), 'worker.sock');
    $m->expectSame('660 shop kqueue', $facts('shop.control.sock'), 'control.sock');
    $m->expect(! $reach($m, 'shop.worker.sock', 'stranger'), 'a stranger cannot connect to worker.sock');
    $m->expect(! $reach($m, 'shop.control.sock', 'stranger'), 'a stranger cannot connect to control.sock');
    $m->expect(! $reach($m, 'shop.worker.sock', 'clerk'), 'one of the group kqueue cannot connect to worker.sock');
    $m->expectSame('inactive', $m->runtime()->state(), 'the runtime after all that');
    $m->expect($reach($m, 'shop.control.sock', 'clerk'), 'one of the group kqueue can connect to control.sock');
    $m->runtime()->waitFor('ActiveState', 'active');
    $m->expect($reach($m, 'shop.control.sock', 'shop'), 'the app\'s user can connect to control.sock');
});

row('activation', 'with nothing running, a connection to the control socket starts the runtime, and its first request the coordinator', function (Machine $m) use ($reach): void {
    $m->expectSame('inactive', $m->runtime()->state(), 'the runtime');
    // Who knocked at its socket before may have it started once more.
    $m->waitFor(static function () use ($m): bool {
        $m->coordinator()->state() === 'inactive' || $m->sh('systemctl stop kqueue.service');

        return $m->coordinator()->state() === 'inactive';
    }, 'the coordinator to be down');
    $m->expect($reach($m, 'shop.control.sock', 'clerk'), 'somebody can connect to the control socket');
    $m->runtime()->waitFor('ActiveState', 'active');
    $m->expectSame('shop', $m->status()['app'], 'the app that answers');
    $m->dispatch(new Heavy(10));
    $m->waitForEffects('end');
    $m->expect($m->coordinator()->isActive(), 'the coordinator runs');
});

row('ready', 'the runtime is ready when the queue answers, or has not for some time, and its STATUS= describes what it does', function (Machine $m): void {
    $m->must('systemctl stop redis-server.service');
    $since = $m->cursor();
    $m->must('systemctl start --no-block kqueue@shop.service');
    // It has found out about the queue, and is still not ready.
    $m->waitForRecord('redis', 'kqueue@shop.service', $since);
    $m->expectSame('activating', $m->runtime()->state(), 'the runtime without a queue');
    $pid = $m->runtime()->pid();
    $m->runtime()->waitFor('ActiveState', 'active', 60);
    $outcome = $m->sh('kqueue status shop');
    $m->expectSame([5, $pid], [$outcome->status, $m->runtime()->pid()], 'the exit code of its status, and the process that was started');
    $m->expectContains('shop: degraded: redis has not answered for', $outcome->text(), 'its status');
    $m->must('systemctl stop kqueue@shop.service');
    $since = $m->cursor();
    $m->must('systemctl start --no-block kqueue@shop.service');
    $m->waitForRecord('redis', 'kqueue@shop.service', $since);
    $m->must('systemctl start redis-server.service');
    $m->runtime()->waitFor('ActiveState', 'active', 60);
    $m->waitFor(fn (): bool => (bool) preg_match('/^shop: .*redis/', $m->runtime()->property('StatusText')), 'a status in words', 30, Machine::DEAR);
});

row('tree', 'every PHP process is in its own unit, and systemctl status and systemd-cgls show it', function (Machine $m): void {
    $m->start();
    $m->dispatchAll([new Quick(4000), new Pooled(4000), new Heavy(4000)]);
    $starts = $m->waitForEffects('start', 3);
    $php = $m->phpProcesses();
    foreach ($starts as $fact) {
        $want = ['Quick' => '/^kqueue@shop\.service$/', 'Pooled' => '/^kqueue-worker@shop:\d+\.service$/', 'Heavy' => '/^kqueue-shop-.+\.scope$/'][$fact['class']];
        $unit = $php[$fact['pid']] ?? '';
        $m->expect((bool) preg_match($want, $unit), "{$fact['class']} is in its unit (it is in '{$unit}')");
        $m->expectSame('kqueue-shop.slice', $m->unit($unit)->property('Slice'), "the slice of {$unit}");
        $m->expectContains((string) $fact['pid'], $m->must("systemctl --no-pager status {$unit}"), "systemctl status {$unit}");
    }
    foreach ($php as $pid => $unit) {
        $m->expect((bool) preg_match('/^(kqueue@shop\.service|kqueue-worker@shop:\d+\.service|kqueue-shop-.+\.scope)$/', $unit), "PHP process {$pid} is in a unit of the app (it is in '{$unit}')");
        $m->expect((int) file_get_contents("/proc/{$pid}/oom_score_adj") >= 0, "PHP process {$pid} in {$unit} is ended by the kernel before the runtime");
    }
    // In a container nobody may lower it.
    $m->expectSame($m->layer === 'vm' ? '-100' : '0', trim((string) file_get_contents("/proc/{$m->runtime()->pid()}/oom_score_adj")), 'oom_score_adj of the runtime');
    $tree = $m->must('systemd-cgls --no-pager --full -u kqueue-shop.slice');
    foreach (array_unique($php) as $unit) {
        $m->expectContains(str_replace('\x', '\\x', $unit), $tree, 'systemd-cgls');
    }
    $m->waitForEffects('end', 3);
});

row('status', 'kqueue status shows the app to its user, root and group kqueue, and to nobody else', function (Machine $m): void {
    $m->configure(['max_concurrent_isolated' => 1]);
    $m->start();
    $uuids = $m->dispatchAll([new Heavy(3000), new Heavy(1), new Pooled(3000)]);
    $m->waitForEffects('start', 2);
    $load = static fn (array $status): array => array_column($status['tiers'], null, 'tier');
    $status = $m->waitFor(static function () use ($m, $load): array|false {
        $status = $m->status();

        return $load($status)['isolated']['waiting'] === 1 ? $status : false;
    }, 'one job that waits', 10, Machine::DEAR);
    $m->expectSame(1, $load($status)['isolated']['running'], 'isolated jobs that run');
    $m->expectSame($uuids[0], $load($status)['isolated']['running_jobs'][0]['uuid'], 'the one that runs');
    $m->expectSame($uuids[1], $load($status)['isolated']['waiting_jobs'][0]['uuid'], 'the one that waits');
    $m->expectSame(1, $load($status)['pooled']['running'], 'pooled jobs that run');
    foreach (['shop', 'clerk'] as $who) {
        $m->expectSame('shop', $m->status(as: $who)['app'], "what {$who} reads");
        $m->expectContains('shop', $m->must('kqueue status', as: $who), "what {$who} reads of all apps");
    }
    $m->expect(! $m->sh('kqueue status shop --json', as: 'stranger')->ok(), 'a stranger reads nothing');
    $m->waitForEffects('end', 3);
    $m->expectOnce($uuids);
});

row('broken-config', 'a broken settings file affects only its own app, and the journal names the fault', function (Machine $m): void {
    file_put_contents('/etc/kqueue/bad.toml', "path = \"/srv/shop\"\npool_size = \"many\"\n");
    $since = $m->cursor();
    $m->must('systemctl daemon-reload');
    $m->waitForRecord('bad.toml', null, $since);
    $m->expect(! $m->sh('timeout 20 systemctl start kqueue@bad.service')->ok(), 'the broken app does not start');
    $m->start();
    $uuid = $m->dispatch(new Quick(1));
    $m->waitForEffects('end');
    $m->expectOnce([$uuid]);
});
