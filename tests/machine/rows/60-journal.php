<?php

/** What the journal tells. */

declare(strict_types=1);

use App\Jobs\Heavy;
use App\Jobs\KillsItself;
use App\Jobs\Plain;
use App\Jobs\Pooled;
use App\Jobs\Prints;
use App\Jobs\Quick;
use App\Jobs\Throws;
use Kqueue\Tests\Machine\Machine;

row('journal', 'each job has one record in journalctl -u kqueue@shop, with its fields', function (Machine $m): void {
    $since = $m->cursor();
    $m->start();
    $jobs = ['inline' => new Quick(1), 'pooled' => new Pooled(1), 'isolated' => new Heavy(1)];
    $uuids = array_combine(array_keys($jobs), $m->dispatchAll(array_values($jobs)));
    $m->waitForEffects('end', 3);
    $m->expectOnce(array_values($uuids));
    foreach ($uuids as $tier => $uuid) {
        $class = get_class($jobs[$tier]);
        $record = $m->waitForRecord($class, 'kqueue@shop.service', $since, ['KQUEUE_JOB' => $uuid]);
        $want = ['KQUEUE_APP' => 'shop', 'KQUEUE_CLASS' => $class, 'KQUEUE_QUEUE' => 'default', 'KQUEUE_TIER' => $tier, 'KQUEUE_ATTEMPT' => '1'];
        foreach ($want as $field => $value) {
            $m->expectSame($value, $record[$field] ?? null, "{$field} of the {$tier} job");
        }
        $m->expect(is_numeric($record['KQUEUE_MS'] ?? null), 'KQUEUE_MS');
        $usec = (int) ($record['KQUEUE_CPU_USEC'] ?? 0);
        if ($tier !== 'isolated') {
            $m->expectSame(0, $usec, 'processor time of a job with no unit of its own');
        } elseif (is_file('/sys/fs/cgroup/cgroup.controllers')) {
            // With the older control groups systemd may not know it, when a scope was gone at once.
            $m->expect($usec > 0, 'the processor time of its unit is told');
        }
        $lines = array_column($m->journal('kqueue@shop.service', $since, ['KQUEUE_JOB' => $uuid]), 'MESSAGE');
        $m->expectSame(1, count($lines), "lines about the {$tier} job");
    }
    $scope = array_key_first($m->scopes($since));
    $m->expect($scope !== null, 'there was a scope');
    // What was launched, in the coordinator's own journal.
    $m->waitForRecord((string) $scope, 'kqueue.service', $since);
}, layers: ['container', 'vm']);

row('prints', 'what a job prints is in the journal of its app, with the job that printed it', function (Machine $m): void {
    $since = $m->cursor();
    $m->start();
    foreach (['inline' => ['isolated' => false], 'isolated' => ['isolated' => true], 'pooled' => ['estimatedDuration' => 10]] as $tier => $where) {
        $uuid = $m->dispatch((new Prints())->with($where));
        foreach (['echo', 'stderr', 'error_log', 'exec'] as $how) {
            $record = $m->waitForRecord("{$how} {$uuid}", 'kqueue@shop.service', $since);
            $m->expectSame($uuid, $record['KQUEUE_JOB'] ?? null, "KQUEUE_JOB of the line by {$how}");
            $m->expectSame($tier, $record['KQUEUE_TIER'] ?? null, "KQUEUE_TIER of the line by {$how}");
        }
    }
});

row('catalog', 'journalctl -x explains a failed job and a process that died under one, and what to do', function (Machine $m): void {
    $since = $m->cursor();
    $m->start();
    $failed = $m->dispatch((new Throws())->with(['tries' => 1]));
    $died = $m->dispatch((new KillsItself(SIGSEGV))->with(['tries' => 1]));
    $m->waitForFailedJob($failed);
    $m->waitForFailedJob($died);
    foreach ([$failed => 'queue:retry ' . $failed, $died => 'SIGSEGV'] as $uuid => $advice) {
        $m->waitForRecord('', 'kqueue@shop.service', $since, ['KQUEUE_JOB' => $uuid]);
        $text = $m->must('journalctl -x -q --no-pager --after-cursor=' . escapeshellarg($since) . " KQUEUE_JOB={$uuid}");
        $m->expectContains('Defined-By: kqueue', $text, 'journalctl -x');
        $m->expectContains($advice, $text, 'journalctl -x');
    }
    // The coordinator's journal names it too.
    $m->waitForRecord('', 'kqueue.service', $since, ['KQUEUE_JOB' => $died]);
});

row('user-manager', 'under a user\'s own service manager kqueue makes the scopes itself', function (Machine $m): void {
    $uid = posix_getpwnam('laptop')['uid'];
    $env = ['XDG_RUNTIME_DIR' => "/run/user/{$uid}", 'DBUS_SESSION_BUS_ADDRESS' => "unix:path=/run/user/{$uid}/bus"];
    $m->unit("user@{$uid}.service")->waitFor('ActiveState', 'active');
    $outcome = $m->sh('systemd-run --user --quiet --unit=kqueue-try --working-directory=/home/laptop kqueue run --path /home/laptop/shop --launcher user', as: 'laptop', env: $env);
    $m->expect($outcome->ok(), 'kqueue starts: ' . $outcome->text());
    $uuids = $m->laptop->dispatchAll([new Heavy(4000), new Plain(), new Pooled(1)]);
    $m->laptop->waitForEffects('start', 1, $uuids[0]);
    $job = $m->laptop->effects('start', $uuids[0])[0]['pid'];
    $scope = $m->unitOf($job);
    $m->expect((bool) preg_match('/^kqueue-.+\.scope$/', $scope), "the job has a scope of its own (it is in '{$scope}')");
    $show = $m->sh("systemctl --user show -p ActiveState,MemoryMax,Slice {$scope}", as: 'laptop', env: $env);
    $m->expectContains('ActiveState=active', $show->output, 'the scope in the user\'s service manager');
    $m->laptop->waitForEffects('end', 3);
    $m->laptop->expectOnce($uuids);
    $m->sh('systemctl --user stop kqueue-try', as: 'laptop', env: $env);
});
