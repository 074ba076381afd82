<?php

/** An app that has nothing to do: what is left of it, and how it comes back. */

declare(strict_types=1);

use App\Jobs\Plain;
use App\Jobs\Pooled;
use Kqueue\Tests\Machine\Machine;

/** Waits until it sleeps: no PHP, no unit of a worker; and it says so, everywhere. */
$sleeps = static function (Machine $m): array {
    $status = $m->waitFor(static function () use ($m): array|false {
        $status = $m->status();

        return isset($status['asleep']) && $m->workers() === [] && $m->phpProcesses() === [] ? $status : false;
    }, 'it to be asleep', 60, Machine::DEAR);
    $m->expectSame('running', $status['state'], 'its state, which is well');
    $m->waitFor(static fn (): bool => str_starts_with($m->runtime()->property('StatusText'), 'shop: asleep since '), 'systemctl status to say so', 10, Machine::DEAR);

    return $status;
};

/** Runs a job and expects that it ran once. */
$runs = static function (Machine $m, object $job, ?int $delay = null): string {
    $uuid = $m->dispatch($job, delay: $delay);
    $m->waitForEffects('end', uuid: $uuid);
    $m->expectOnce([$uuid]);

    return $uuid;
};

row('sleep', 'an idle app falls asleep with all its units but the runtime\'s, and wakes for a job, a delayed one, after a restart and a start', function (Machine $m) use ($sleeps, $runs): void {
    $m->configure(['idle_after' => '1s']);
    $since = $m->cursor();
    $m->start();
    $sleeps($m);
    $m->waitForRecord('asleep until the next job', 'kqueue@shop.service', $since);
    $pid = $m->runtime()->pid();
    $m->expectSame([$pid => 'kqueue@shop.service'], array_intersect($m->units(), ['kqueue@shop.service']), 'processes of the runtime\'s unit');
    // The watchdog is fed.
    $fed = $m->runtime()->property('WatchdogTimestampMonotonic');
    $m->waitFor(static fn (): bool => $m->runtime()->property('WatchdogTimestampMonotonic') !== $fed, 'the watchdog to be fed', 60, Machine::DEAR);
    $m->expectSame(0, $m->sh('kqueue health shop')->status, 'health');
    $m->must('systemctl start kqueue@shop.service');
    $m->expect(isset($m->status()['asleep']), 'what runs is not started');

    $runs($m, new Pooled(100));
    $m->expect($m->workers() !== [], 'the unit of a pooled worker is back');
    $sleeps($m);
    $runs($m, new Plain(), 3);
    $sleeps($m);
    $m->must('systemctl reload kqueue@shop.service');
    $sleeps($m);
    $m->expectSame($pid, $m->runtime()->pid(), 'the runtime all the while');

    $m->must('systemctl restart kqueue@shop.service');
    $runs($m, new Plain());
    $sleeps($m);
    $m->must('systemctl stop kqueue@shop.service');
    $uuid = $m->dispatch(new Plain());
    $m->start();
    $m->waitForEffects('end', uuid: $uuid);
    $m->expectOnce([$uuid]);
    $sleeps($m);
});

row('fifty', 'fifty apps that sleep take less than 150 MB together, whatever of them is left, and each wakes for its own job', function (Machine $m): void {
    $names = array_map(static fn (int $i): string => "app{$i}", range(1, 50));
    $usual = preg_replace('/^(queues|idle_after) = .*\n/m', '', (string) file_get_contents('/etc/kqueue/shop.toml'));
    foreach ($names as $name) {
        file_put_contents("/etc/kqueue/{$name}.toml", $usual . "queues = [\"{$name}\"]\nidle_after = \"1s\"\n");
    }
    $m->must('systemctl daemon-reload');
    $m->must('systemctl start ' . implode(' ', array_map(static fn (string $name): string => "kqueue@{$name}.service", $names)));
    $m->waitFor(static function () use ($m, $names): bool {
        $told = json_decode($m->must('kqueue status --json'), true);
        $asleep = array_filter($told, static fn (array $app): bool => isset($app['asleep']));

        return count(array_intersect($names, array_column($asleep, 'app'))) === count($names);
    }, 'fifty apps to be asleep', 120, Machine::DEAR);
    $pss = 0;
    $left = array_filter($m->units(), static fn (string $unit): bool => str_contains($unit, '@app'));
    foreach (array_keys($left) as $pid) {
        preg_match('/^Pss:\s+(\d+)/m', (string) @file_get_contents("/proc/{$pid}/smaps_rollup"), $found);
        $pss += (int) ($found[1] ?? 0);
    }
    $m->expectSame(50, count($left), 'processes of theirs');
    $m->expect($pss > 0 && $pss < 150 << 10, sprintf('%d MB in all', $pss >> 10));
    foreach (['app7', 'app50'] as $name) {
        $uuid = $m->dispatch(new Plain(), $name);
        $m->waitForEffects('end', uuid: $uuid);
        $m->expectOnce([$uuid]);
    }
}, os: ['trixie'], seconds: 240);
