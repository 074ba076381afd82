<?php

/** Jobs that go beyond what they declare, and strangers that go beyond what is theirs. */

declare(strict_types=1);

use App\Jobs\HalfFrame;
use App\Jobs\Hungry;
use App\Jobs\Plain;
use Kqueue\Tests\Wait;
use Kqueue\Tests\World;

$grows = static function (World $w, string $how, string $why): void {
    $bystander = $w->dispatch(new Plain());
    $uuid = $w->dispatch((new Hungry(400, how: $how))->with(['tries' => 1]));
    $w->work();
    $w->expectAttempts([1], $uuid);
    $w->expectFailed(1, 'Kqueue\Worker\WorkerCrashedException', $uuid);
    $w->expectContains($why, $w->failed()[0]['exception'], 'the exception');
    $w->expectSame(1, count($w->journal('end', $bystander)), 'ends of the other job');
    $w->expectGone();
};

row('memory', 'more than maxMemory on PHP\'s heap: failed at once, and the exception says so', fn (World $w) => $grows($w, 'heap', 'Allowed memory size of 67108864'), engines: ['kqueue']);
row('memory', 'more than maxMemory in a child process: likewise', fn (World $w) => $grows($w, 'child', 'over its limit of 64 MB'), engines: ['kqueue']);

row('half', 'a frame cut in half on the worker socket: the job fails with the cause, the others run', function (World $w): void {
    $uuid = $w->dispatch((new HalfFrame())->with(['tries' => 1]));
    $next = $w->dispatch(new Plain());
    $w->work();
    $w->expectFailed(1, 'Kqueue\Worker\WorkerCrashedException', $uuid);
    $w->expectAttempts([1], $next);
    $w->expectContains('incomplete frame', $w->failed()[0]['exception'], 'the exception');
    $w->expectGone();
}, engines: ['kqueue']);

row('stranger', 'strangers on the worker socket are refused, and jobs run on', function (World $w): void {
    $daemon = $w->start();
    $w->dispatch(new Plain());
    $w->waitFor('end');
    $socket = $w->sandbox->dir . '/run/worker.sock';
    $w->expectSame('0700', substr(sprintf('%o', fileperms(dirname($socket))), -4), 'mode of the directory');
    $frame = static fn (int $kind, string $header): string => pack('NCN', 5 + strlen($header), $kind, strlen($header)) . $header;
    $hello = static fn (string $mode, string $worker): string => $frame(1, json_encode(['version' => 1, 'mode' => $mode, 'worker' => $worker, 'pid' => 1, 'php' => '8']));
    foreach ([
        'garbage' => random_bytes(4096),
        'another protocol' => "GET / HTTP/1.1\r\nHost: kqueue\r\n\r\n",
        'a giant frame' => pack('N', 0x7fffffff),
        'half a frame' => substr($hello('lane', '1'), 0, 20),
        'a worker that is there already' => $hello('lane', '1'),
        'a worker that never was' => $hello('pooled', '4711'),
        'the template' => $hello('template', '0'),
        'no greeting' => $frame(2, '{}'),
    ] as $what => $bytes) {
        $before = substr_count($daemon->output(), 'refused process');
        $stranger = stream_socket_client('unix://' . $socket);
        fwrite($stranger, $bytes);
        stream_socket_shutdown($stranger, STREAM_SHUT_WR);
        Wait::until(static fn (): bool => substr_count($daemon->output(), 'refused process') > $before, "{$what} to be refused");
        stream_set_timeout($stranger, 5);
        $w->expectSame('', (string) @stream_get_contents($stranger), "the answer to {$what}");
        fclose($stranger);
        $uuid = $w->dispatch(new Plain());
        $w->waitFor('end', uuid: $uuid);
    }
    $w->waitForQueue();
    $w->expectFailed(0);
    $w->expectSame(0, $daemon->stop(), 'exit status');
}, drivers: ['redis'], engines: ['kqueue']);
