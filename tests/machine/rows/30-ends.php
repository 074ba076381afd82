<?php

/** Jobs that go too far, and who ends them: the service manager, whatever the runtime is doing. */

declare(strict_types=1);

use App\Jobs\BlocksAlone;
use App\Jobs\BlocksPooled;
use App\Jobs\Hungry;
use App\Jobs\Plain;
use App\Jobs\Roomy;
use Kqueue\Tests\Machine\Machine;
use Kqueue\Tests\Processes;

row('oom', 'a child process of a job takes more than maxMemory: oom-kill, with limit and peak in the failed job and the journal', function (Machine $m): void {
    $since = $m->cursor();
    $m->start();
    $uuid = $m->dispatch((new Hungry(300, how: 'child'))->with(['tries' => 1]));
    $next = $m->dispatch(new Plain());
    $exception = $m->waitForFailedJob($uuid)['exception'];
    $m->expectContains('oom-kill at 64 MB', $exception, 'the exception');
    $m->expect((bool) preg_match('/peak \d+ MB/', $exception), 'the exception names the peak');
    // The unit's end, and what it means for the job.
    foreach ([[], ['KQUEUE_JOB' => $uuid]] as $fields) {
        $record = $m->waitForRecord('oom-kill at 64 MB', 'kqueue.service', $since, $fields);
        $m->expectSame('shop', $record['KQUEUE_APP'] ?? null, 'the app that journalctl -u kqueue names');
    }
    $record = $m->waitForRecord('oom-kill', 'kqueue@shop.service', $since, ['KQUEUE_JOB' => $uuid]);
    $m->expectContains('$maxMemory', $m->must('journalctl -x -q --no-pager --after-cursor=' . escapeshellarg($since) . ' KQUEUE_JOB=' . $uuid), 'journalctl -x');
    $m->expect(isset($record['MESSAGE_ID']), 'the record has a kind');
    if ($m->systemd >= 253) {
        $scopes = array_values($m->scopes($since));
        $m->expectSame('oom-kill', $scopes[0]->result ?? null, 'Result of the scope');
    }
    $m->waitForEffects('end', 1, $next);
    $m->waitFor(fn (): bool => $m->unitsLike('kqueue-shop-*.scope') === [], 'the scope to go', 15, Machine::DEAR);
}, layers: ['vm']);

row('app-limit', 'systemctl set-property kqueue-shop.slice MemoryMax= limits the whole app', function (Machine $m): void {
    $m->start();
    $runtime = $m->runtime()->pid();
    $limit = 384 << 20;
    $m->must("systemctl set-property --runtime kqueue-shop.slice MemoryMax={$limit} MemorySwapMax=0");
    $group = '/sys/fs/cgroup' . $m->unit('kqueue-shop.slice')->property('ControlGroup');
    $m->expectSame((string) $limit, trim((string) file_get_contents("{$group}/memory.max")), 'the limit in force');
    $m->dispatch((new Roomy(600, how: 'child'))->with(['tries' => 1]));
    $m->waitFor(static fn (): bool => (bool) preg_match('/^oom_kill [1-9]/m', (string) file_get_contents("{$group}/memory.events")), 'the kernel to enforce it', 60);
    $next = $m->dispatch(new Plain());
    $m->waitForEffects('end', 1, $next);
    $m->expectSame($runtime, $m->runtime()->pid(), 'the runtime');
    $m->expect((int) file_get_contents("{$group}/memory.current") <= $limit, 'the app is within its limit');
}, layers: ['vm']);

/** Holds the lock for which a job waits inside C, where nothing of PHP can end it. */
$hold = static function (Machine $m): PDO {
    $lock = new PDO('sqlite:/srv/shop/lock.sqlite');
    $m->must('chown shop:shop /srv/shop/lock.sqlite');
    $lock->exec('begin exclusive');

    return $lock;
};

row('time', 'a job past its time ends by RuntimeMaxSec of its scope even while the runtime is stopped', function (Machine $m) use ($hold): void {
    $m->configure(['timeout_grace' => '1s']);
    $lock = $hold($m);
    $since = $m->cursor();
    $m->start();
    $uuid = $m->dispatch((new BlocksAlone('/srv/shop/lock.sqlite'))->with(['timeout' => 2, 'tries' => 1]));
    $job = $m->waitForEffects('start')[0]['pid'];
    $m->runtime()->kill('STOP');
    $scope = $m->unitOf($job);
    $m->waitForRecord("Failed with result 'timeout'", $scope, $since, seconds: 45);
    // Its parent waits for the runtime to tell it so, and the runtime is stopped.
    $m->expect(! Processes::runs($job), 'the process of the job has ended');
    $m->runtime()->kill('CONT');
    $m->expectContains('time', strtolower($m->waitForFailedJob($uuid)['exception']), 'the exception');
    $m->expectSame(1, count($m->effects('start', $uuid)), 'runs');
});

row('pool-watchdog', 'a pooled job that hangs is ended by systemd\'s watchdog while the runtime is stopped', function (Machine $m) use ($hold): void {
    $m->configure(['timeout_grace' => '1s']);
    $lock = $hold($m);
    $since = $m->cursor();
    $m->start();
    $uuid = $m->dispatch((new BlocksPooled('/srv/shop/lock.sqlite'))->with(['timeout' => 2, 'tries' => 1]));
    $job = $m->waitForEffects('start')[0]['pid'];
    $worker = $m->unitOf($job);
    $m->expect((bool) preg_match('/^kqueue-worker@shop:\d+\.service$/', $worker), "it runs in the pool (in '{$worker}')");
    $m->runtime()->kill('STOP');
    $m->waitForRecord("Failed with result 'watchdog'", $worker, $since, seconds: 45);
    $m->expect(! is_dir("/proc/{$job}"), 'the process of the job is gone');
    $m->runtime()->kill('CONT');
    $m->waitForFailedJob($uuid);
    $m->expectSame(1, count($m->effects('start', $uuid)), 'runs');
    $next = $m->dispatch(new Plain());
    $m->waitForEffects('end', 1, $next);
});
