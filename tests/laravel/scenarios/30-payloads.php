<?php

/** What stands on the queue, byte by byte. */

declare(strict_types=1);

use App\Handlers\Old;
use App\Jobs\HoldsText;
use App\Jobs\Plain;
use App\Jobs\Secret;
use Kqueue\Tests\World;

row(2, 'payloads as every earlier version wrote them run', function (World $w): void {
    $known = ['default', 'delayed', 'string', 'unique', 'batch', 'chain', 'ctx', 'lq'];
    $uuids = [];
    foreach (range(8, (int) $w->laravel->version()) as $version) {
        // `closure` and `enc` are signed and encrypted with a key that nobody has kept: rows 26 and 27.
        foreach ($known as $name) {
            $file = dirname(__DIR__, 2) . "/fixtures/payloads/{$version}.x/{$name}.json";
            if (is_file($file)) {
                $payload = rtrim((string) file_get_contents($file), "\n");
                $uuids[json_decode($payload, true)['uuid']] = "{$version}.x/{$name}";
                $w->pushRaw($payload);
            }
        }
    }
    $w->expect(count($uuids) >= 7, 'there are fixtures');
    $w->work();
    foreach ($uuids as $uuid => $name) {
        $w->expectSame([1], array_column($w->journal('end', $uuid), 'attempts'), "runs of {$name}");
    }
    $w->expectQueue();
    $w->expectFailed(0);
});

row(21, 'a payload without `attempts`', function (World $w): void {
    $bad = ['job' => Old::class . '@fire', 'uuid' => 'no-attempts', 'displayName' => 'Old', 'maxTries' => null, 'timeout' => null, 'data' => ['a' => 1]];
    $w->pushRaw(json_encode($bad));
    $w->differs(
        'stock loses it: it is off the list before the script fails',
        stock: function () use ($w): void {
            $w->work();
            $w->expectRuns(0);
            $w->expectGone();
            $w->expectFailed(0);
        },
        kqueue: function () use ($w): void {
            $w->work();
            $w->expectAttempts([1]);
            $w->expectGone();
            $w->expectFailed(0);
        },
    );
}, drivers: ['redis'], back: ['pop' => 'strict']);

row(22, 'an entry that is no JSON does not stop the next job', function (World $w): void {
    $w->pushRaw('this is no job');
    $uuid = $w->dispatch(new Plain());
    $daemon = $w->start();
    $w->waitFor('end', uuid: $uuid);
    $w->waitForQueue(broken: $w->actsAsStock() ? 0 : 1);
    $daemon->stop();
    $w->expectRuns(1, $uuid);
    $w->differs(
        'stock loses it; kqueue sets it aside on NAME:broken',
        stock: fn () => $w->expectGone(),
        kqueue: fn () => $w->expectSame(['this is no job'], $w->backend->state()->broken, 'set aside'),
    );
}, drivers: ['redis'], back: ['pop' => 'strict']);

row(23, 'big integers and empty arrays: exact on the first attempt, as Redis writes them on the second', function (World $w): void {
    $data = ['id' => 12345678901234567, 'none' => [], 'throws' => 1];
    $w->push(Old::class, $data);
    $w->work(['tries' => 2]);
    $runs = $w->journal('start');
    $w->expectSame([1, 2], array_column($runs, 'attempts'), 'attempts');
    $w->expectSame($data, $runs[0]['data'], 'data of the first attempt');
    $second = $runs[1]['data'];
    ksort($second);
    $w->expectSame(['id' => 12345678901235000, 'none' => [], 'throws' => 1], $second, 'data of the second attempt');
    $w->expectGone();
}, drivers: ['redis']);

row(24, 'text of every kind arrives byte by byte, and so does the payload', function (World $w): void {
    $text = "grüße / \\ \" 日本語 \u{1F600} \0 \u{2028} a/b";
    $w->dispatch(new HoldsText($text));
    $payload = $w->backend->state()->ready[0]['payload'];
    $w->work();
    $w->expectSame(sha1($payload), $w->journal('start')[0]['sha1'], 'hash of the payload');
    $w->expectSame(sha1($text), $w->journal('text')[0]['sha1'], 'hash of the text');
    $w->expectGone();
});

row(25, 'a handler that never deletes its job: reserved, and run again when the lease is over', function (World $w): void {
    $uuid = $w->push(Old::class, ['delete' => false]);
    $w->work(['tries' => 3]);
    $w->expectAttempts([1], $uuid);
    $w->expectQueue(reserved: 1, attempts: 1);
    $w->expireLeases();
    $w->work(['tries' => 3]);
    $w->expectAttempts([1, 2], $uuid);
    $w->expectQueue(reserved: 1, attempts: 2);
    $w->expectFailed(0);
});

row(26, 'an encrypted job runs, and no log holds what is in it', function (World $w): void {
    $secret = 'secret-' . bin2hex(random_bytes(8));
    $w->dispatch(new Secret($secret));
    $payload = $w->backend->state()->ready[0]['payload'];
    $w->expect(! str_contains($payload, $secret), 'the payload is encrypted');
    $w->expectContains('Secret', $payload, 'the class stands in the payload');
    $w->work();
    $w->expectRuns(1);
    $w->expectGone();
    $w->expectContains('Secret', $w->output(), 'the class stands in the engine\'s log');
    $w->expect(! str_contains($w->output() . $w->sandbox->log(), $secret), 'the secret stands in no log');
});
