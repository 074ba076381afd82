<?php

/** What comes with the app's units, and with the Composer package. */

declare(strict_types=1);

use Kqueue\Tests\Machine\Machine;

row('schedule', 'kqueue-schedule@shop.timer runs schedule:run as the app\'s user, and leaves a task in the background alone', function (Machine $m): void {
    $since = $m->cursor();
    $task = '/srv/shop/background-task';
    // Goes on until it is told to end, which is after schedule:run has.
    file_put_contents($task, <<<'SH'
        echo "begun $$" >>/srv/shop/background-log
        while [ ! -e /srv/shop/background-end ]; do sleep 0.1; done
        echo "done $$" >>/srv/shop/background-log
        SH);
    $log = static fn (): string => (string) @file_get_contents('/srv/shop/background-log');
    try {
        $m->must('systemctl enable --now --quiet kqueue-schedule@shop.timer');
        $unit = $m->unit('kqueue-schedule@shop.service');
        $fact = $m->waitForEffects('scheduled', seconds: 75)[0];
        $m->expectSame(posix_getpwnam('shop')['uid'], $fact['user'], 'the user');
        $record = $m->waitForRecord('tick', $unit->name, $since);
        $m->expectSame('shop', $record['KQUEUE_APP'] ?? null, 'the app in the journal');
        $m->waitFor(static fn (): bool => str_contains($log(), 'begun'), 'the task in the background');
        $unit->waitFor('ActiveState', 'inactive');
        $m->expectSame('success', $unit->property('Result'), 'how it ended');
        $pid = (int) substr($log(), 6);
        $m->expectSame($unit->name, $m->unitOf($pid), 'where the task still is');
        $m->expectContains('kqueue-shop.slice', $unit->property('ControlGroup') . $unit->property('Slice'), 'the slice');
        // The next minute is run beside it.
        $m->waitForEffects('scheduled', 2, seconds: 75);
        $m->expect(posix_kill($pid, 0), 'the task goes on');
        touch('/srv/shop/background-end');
        $m->waitFor(static fn (): bool => str_contains($log(), "done {$pid}"), 'the end of the task');
    } finally {
        $m->sh('systemctl disable --now --quiet kqueue-schedule@shop.timer; systemctl stop kqueue-schedule@shop.service');
        touch('/srv/shop/background-end');
        $m->waitFor(static fn (): bool => substr_count($log(), 'begun') === substr_count($log(), 'done'), 'the end of all tasks');
        array_map('unlink', glob('/srv/shop/background-*') ?: []);
    }
}, seconds: 200);

row('doorbell', 'under systemd any user may ring the doorbell of a database queue, and that starts no unit', function (Machine $m): void {
    $ring = static fn (): int => $m->sh(
        'php -r ' . escapeshellarg("exit((\$bell = @stream_socket_client('udg:///run/kqueue/shop/bell.sock')) && fwrite(\$bell, '!') === 1 ? 0 : 1);"),
        as: 'stranger',
    )->status;
    $m->start();
    $m->expect(! file_exists('/run/kqueue/shop/bell.sock'), 'a queue on Redis has none');
    $m->must('systemctl stop kqueue@shop.service');
    $m->must("sed -i 's/connection = \"redis\"/connection = \"database\"/' /etc/kqueue/shop.toml");
    $m->start();
    $m->expectSame('666 shop shop', trim($m->must("stat -c '%a %U %G' /run/kqueue/shop/bell.sock")), 'bell.sock');
    $m->expectSame(0, $ring(), 'a stranger rings');
    $m->must('systemctl stop kqueue@shop.service');
    $m->expectSame(1, $ring(), 'nobody hears it');
    $m->expectSame('inactive', $m->runtime()->state(), 'the runtime');
});
