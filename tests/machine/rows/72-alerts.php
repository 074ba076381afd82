<?php

/** Alerts of which only systemd can tell, or only a runtime that has lost the coordinator. */

declare(strict_types=1);

use App\Jobs\Hungry;
use Kqueue\Tests\Machine\Machine;

/** Gives the app these alerts, and a command that notes each message. Returns the file. */
$alerts = static function (Machine $m, string ...$lines): string {
    $file = '/srv/shop/storage/told';
    @unlink($file);
    $m->configure([]);
    $command = json_encode(['/bin/sh', '-c', "id -un >>{$file}; cat >>{$file}; echo >>{$file}"], JSON_UNESCAPED_SLASHES);
    file_put_contents('/etc/kqueue/shop.toml', "\n[alerts]\n" . implode("\n", $lines) . "\ncommand = {$command}\n", FILE_APPEND);
    $m->must('systemctl daemon-reload');

    return $file;
};

/** Waits for a message, and gives it with the number of all of that alert in that state. */
$told = static function (Machine $m, string $file, string $alert, string $state): array {
    $these = static fn (): array => array_values(array_filter(
        array_map(static fn (string $line): mixed => json_decode($line, true), explode("\n", (string) @file_get_contents($file))),
        static fn (mixed $told): bool => is_array($told) && [$told['alert'], $told['state']] === [$alert, $state],
    ));
    $m->waitFor(static fn (): bool => $these() !== [], "a message of {$alert} {$state}", 60);

    return [$these()[0], count($these())];
};

row('alert-down', 'a runtime that has failed for good is told by kqueue-alert@.service as the app\'s user, once, with its record in the journal; and that it is back', function (Machine $m) use ($alerts, $told): void {
    $file = $alerts($m, 'down = "2s"');
    $m->start();
    $since = $m->cursor();
    // Settings that cannot work: systemd does not try again.
    $toml = (string) file_get_contents('/etc/kqueue/shop.toml');
    $m->dropIn('kqueue@shop.service', "[Service]\nExecStart=\nExecStart=/bin/sh -c 'exit 78'\n");
    $m->sh('systemctl restart kqueue@shop.service');
    [$began, $count] = $told($m, $file, 'down', 'began');
    $m->expectSame([1, 'shop'], [$count, $began['app']], 'how often it is told, and of which app');
    $m->expectSame('shop', strtok((string) file_get_contents($file), "\n"), 'who tells it');
    $m->waitForRecord('alert down: ', 'kqueue-alert@shop.service', $since, ['MESSAGE_ID' => '3f1d0c5a86d24ad3a3f7f2b9f2f0c6e1', 'KQUEUE_ALERT' => 'down', 'KQUEUE_APP' => 'shop']);
    // Failing once more is no news.
    $m->unit('kqueue-alert@shop.service')->waitFor('ActiveState', 'inactive');
    $m->sh('systemctl reset-failed kqueue@shop.service; systemctl restart kqueue@shop.service');
    $m->sh('systemctl start kqueue-alert@shop.service');
    $m->expectSame(1, $told($m, $file, 'down', 'began')[1], 'how often it is told by then');
    unlink('/run/systemd/system/kqueue@shop.service.d/90-test.conf');
    $m->must('systemctl daemon-reload; systemctl reset-failed kqueue@shop.service');
    $m->start();
    [, $count] = $told($m, $file, 'down', 'over');
    $m->expectSame(1, $count, 'how often it is told that it is over');
    $m->waitForRecord('alert down: over after ', 'kqueue@shop.service', $since, ['MESSAGE_ID' => 'b0c9a2e44c5f4b7c9d0b6a3a6f1f5d78']);
    $m->expectSame($toml, file_get_contents('/etc/kqueue/shop.toml'), 'the settings');
});

row('alert-stopped', 'an app that an operator has stopped is not down', function (Machine $m) use ($alerts): void {
    $file = $alerts($m, 'down = "1s"');
    $m->start();
    $m->must('systemctl stop kqueue@shop.service');
    $m->must('systemctl start kqueue-alert@shop.service');
    $m->expect(! file_exists($file), 'nobody is told');
});

row('alert-coordinator', 'a coordinator that is gone is told by the runtime, and that it is back', function (Machine $m) use ($alerts, $told): void {
    $file = $alerts($m, 'coordinator_gone = "2s"');
    $m->start();
    try {
        $m->must('systemctl stop kqueue.socket kqueue.service');
        [$began] = $told($m, $file, 'coordinator_gone', 'began');
        $m->expectContains('the coordinator has not answered for ', $began['text'], 'the text');
    } finally {
        $m->must('systemctl start kqueue.socket');
    }
    [, $count] = $told($m, $file, 'coordinator_gone', 'over');
    $m->expectSame(1, $count, 'how often it is told that it is over');
});

row('alert-oom', 'a job that the kernel kills at its memory limit is told, once', function (Machine $m) use ($alerts, $told): void {
    $file = $alerts($m, 'oom_rate = "1/h"');
    $since = $m->cursor();
    $m->start();
    $uuid = $m->dispatch((new Hungry(300, how: 'child'))->with(['tries' => 1]));
    $m->waitForFailedJob($uuid);
    [, $count] = $told($m, $file, 'oom_rate', 'began');
    $m->expectSame(1, $count, 'how often it is told');
    $m->waitForRecord('alert oom_rate: ', 'kqueue@shop.service', $since);
}, layers: ['vm'], os: ['trixie']);
