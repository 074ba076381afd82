<?php

/** Who may ask the coordinator for what. */

declare(strict_types=1);

use App\Jobs\Heavy;
use App\Jobs\Waits;
use Kqueue\Tests\Machine\Machine;

/** "The coordinator refused a request", by its kind in the catalog. */
const REFUSED = ['MESSAGE_ID' => '22b6463407bd47e29a314a07e1f54688'];

$junk = [
    'garbage' => str_repeat("\x00\x00\x00\x08garbage!", 3),
    'another protocol' => "GET / HTTP/1.1\r\nHost: kqueue\r\n\r\n",
    'a giant frame' => pack('N', 0x7fffffff) . 'x',
    'a frame one byte too long' => pack('N', (16 << 10) + 1) . str_repeat(' ', (16 << 10) + 1),
    'half a frame' => pack('N', 100) . '{"id":1',
];

row('strangers', 'the coordinator serves runtimes alone, and the journal has what others tried', function (Machine $m) use ($junk): void {
    $gate = '/srv/shop/storage/gate';
    @unlink($gate);
    $m->start();
    $uuid = $m->dispatch(new Waits($gate, 'isolated'));
    $m->waitForEffects('start');
    $scope = $m->waitForScope();
    $name = substr($scope, strlen('kqueue-shop-'), -strlen('.scope'));
    $before = $m->unitsLike('kqueue*');
    $wishes = [
        'kill' => ['id' => 1, 'verb' => 'kill', 'unit' => ['scope' => $name]],
        'start' => ['id' => 1, 'verb' => 'start', 'worker' => 7],
        'list' => ['id' => 1, 'verb' => 'list'],
        'tell' => ['id' => 1, 'verb' => 'tell', 'message' => 'forged', 'priority' => 3, 'fields' => []],
    ];
    $try = static function (string $bytes, string $as) use ($m): string {
        $code = '$s = stream_socket_client("unix:///run/kqueue/coordinator.sock"); stream_set_timeout($s, 3);'
            . '@fwrite($s, base64_decode($argv[1])); stream_socket_shutdown($s, STREAM_SHUT_WR); echo @stream_get_contents($s);';

        return $m->sh('php -r ' . escapeshellarg($code) . ' -- ' . base64_encode($bytes), as: $as)->output;
    };
    // The app's user too: it is the unit that counts.
    foreach (['stranger', 'clerk', 'shop'] as $who) {
        foreach ($wishes as $what => $request) {
            $since = $m->cursor();
            $body = json_encode($request);
            $answer = $try(pack('N', strlen($body)) . $body, $who);
            $m->expect($answer === '' || str_contains($answer, '"refused"'), "{$what} as {$who} is refused (the answer was '{$answer}')");
            $m->waitForRecord('', 'kqueue.service', $since, REFUSED);
        }
    }
    foreach ($junk as $what => $bytes) {
        $m->expectSame('', preg_replace('/^.*"refused".*$/s', '', $try($bytes, 'stranger')), "the answer to {$what}");
    }
    $m->expectSame($before, $m->unitsLike('kqueue*'), 'units');
    $m->expect($m->coordinator()->isActive(), 'the coordinator runs');
    touch($gate);
    $m->waitForEffects('end');
    $m->expectOnce([$uuid]);
    $m->expectSame([], array_filter($m->journal('kqueue.service'), static fn (array $r): bool => ($r['MESSAGE'] ?? '') === 'forged'), 'lines that were forged');
});

row('policy', 'a runtime gets nothing beyond its own app and root\'s limits, and an error that names the reason', function (Machine $m) use ($junk): void {
    $m->configure(['pool_max_size' => 4, 'pool_size' => 2, 'isolated_memory_cap' => 64]);
    $outside = (int) $m->unit('redis-server.service')->pid();
    $since = $m->cursor();
    $limits = ['memory_max' => 32 << 20];
    $refused = [
        'a process outside its unit' => ['verb' => 'scope', 'scope' => 't1', 'pid' => $outside, 'limits' => $limits],
        'the first process' => ['verb' => 'scope', 'scope' => 't2', 'pid' => 1, 'limits' => $limits],
        'its own main process' => ['verb' => 'scope', 'scope' => 't5', 'pid' => 'self', 'limits' => $limits],
        'no process' => ['verb' => 'scope', 'scope' => 't3', 'pid' => -1, 'limits' => $limits],
        'more memory than root allows' => ['verb' => 'scope', 'scope' => 't4', 'pid' => 'child', 'limits' => ['memory_max' => 65 << 20]],
        'a name with a path in it' => ['verb' => 'scope', 'scope' => '../../x', 'pid' => 'child', 'limits' => $limits],
        'a worker beyond pool_max_size' => ['verb' => 'start', 'worker' => 99],
        'a worker of another app' => ['verb' => 'kill', 'unit' => ['scope' => 'x.scope kqueue@other']],
        'a verb that there is not' => ['verb' => 'stop', 'unit' => ['worker' => 1]],
    ];
    $questions = [];
    foreach (array_values($refused) as $i => $request) {
        $questions[] = [['id' => $i] + $request];
    }
    $answers = $m->askAsRuntime([...$questions, ...array_values($junk), array_fill(0, 2000, ['id' => 1, 'verb' => 'purpose'])]);
    foreach (array_keys($refused) as $i => $what) {
        $answer = $answers[$i]['answers'][0] ?? null;
        $m->expect($answer === null ? $answers[$i]['closed'] : isset($answer['error']), "{$what} is refused (the answer was " . json_encode($answer) . ')');
    }
    foreach (array_keys($junk) as $i => $what) {
        // The rest of half a frame may still come.
        $m->expect($what === 'half a frame' || $answers[count($refused) + $i]['closed'], "{$what} ends the connection");
        $m->expectSame([], array_filter($answers[count($refused) + $i]['answers'], static fn (array $a): bool => ! isset($a['error'])), "what {$what} brought about");
    }
    // A flood is answered, or refused; and somebody else is heard after it.
    $m->expect($m->coordinator()->isActive(), 'the coordinator runs');
    $m->expect(count($m->journal('kqueue.service', $since, REFUSED)) >= 3, 'refusals are in the journal');
    $m->expectSame([], $m->unitsLike('kqueue-shop-*.scope', 'kqueue-worker@shop:*.service'), 'units that came of it');
    $m->expectSame('redis-server.service', $m->unitOf($outside), 'where the process outside is');
    $m->sh('rm -r /run/systemd/system/kqueue@shop.service.d; systemctl daemon-reload; systemctl reset-failed');
    $m->start();
    $uuid = $m->dispatch(new Heavy(1));
    $m->waitForEffects('end');
    $m->expectOnce([$uuid]);
});
