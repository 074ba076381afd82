<?php

/** Payloads of many megabytes: what the runtime has to hold of them at once, and what it gives back. */

declare(strict_types=1);

use App\Jobs\Quick;
use Kqueue\Tests\Machine\Machine;

row('heavy-payloads', 'payloads of 10 and 100 MB, and forty of 15 MB: the runtime holds a bound of them, and gives it back; one of 300 MB is set aside', function (Machine $m): void {
    // Of PHP, which reads a payload four times over, this is not about.
    $m->configure(['worker_memory_max' => '2G']);
    $m->start();
    $m->dispatch(new Quick(1), 'parked');
    [$plain] = $m->shop->backend->state('parked')->ready;
    $m->shop->hangUp();
    $push = static function (int $megabytes, int $count = 1) use ($m, $plain): array {
        $uuids = [];
        for ($n = 0; $n < $count; $n++) {
            $payload = json_decode($plain['payload'], true, 512, JSON_THROW_ON_ERROR);
            $payload['uuid'] = $payload['id'] = $uuids[] = sprintf('00000000-0000-4000-8000-%012d', random_int(0, 999_999_999_999));
            $payload['pad'] = str_repeat('x', $megabytes << 20);
            $m->shop->backend->push(json_encode($payload, JSON_THROW_ON_ERROR));
        }

        return $uuids;
    };
    $memory = static fn (string $which): int => $m->runtime()->memory($which) >> 20;
    $done = static fn (): int => count($m->effects('end'));
    foreach ([[10, 1, 70], [100, 1, 450], [15, 40, 450]] as [$megabytes, $count, $most]) {
        $before = $done();
        file_put_contents("/proc/{$m->runtime()->pid()}/clear_refs", '5');
        $push($megabytes, $count);
        $m->waitFor(static fn (): bool => $done() === $before + $count, "{$count} jobs of {$megabytes} MB", 60);
        $m->waitFor(static fn (): bool => $m->shop->backend->state()->reserved === [], 'them to be removed', 30);
        $peak = $memory('VmHWM');
        $m->expect($peak <= $most, "{$count} payloads of {$megabytes} MB take {$most} MB at the most (they took {$peak})");
        $m->waitFor(static fn (): bool => $memory('VmRSS') <= 90, "what {$count} payloads of {$megabytes} MB took to be given back (it is " . $memory('VmRSS') . ' MB)', 30);
    }
    $since = $m->cursor();
    file_put_contents("/proc/{$m->runtime()->pid()}/clear_refs", '5');
    $push(300);
    $m->waitForRecord('is not a job', 'kqueue@shop.service', $since);
    $m->expect($memory('VmHWM') <= 90, 'one that is set aside is not read (' . $memory('VmHWM') . ' MB)');
    $m->expectSame(1, count($m->shop->backend->state()->broken), 'messages that were set aside');
    $m->expect(str_starts_with($m->status()['state'] ?? '', 'r'), 'the runtime goes on: ' . json_encode($m->status()['state'] ?? null));
}, seconds: 240);
