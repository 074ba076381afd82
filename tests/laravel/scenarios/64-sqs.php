<?php

/** What only SQS has: message groups, payloads that are kept elsewhere, the bounds of its visibility timeout. */

declare(strict_types=1);

use App\Jobs\Plain;
use App\Jobs\Releases;
use App\Jobs\Sleeps;
use App\Jobs\Throws;
use Kqueue\Tests\World;

row(67, 'a FIFO queue with three groups: each in its order, through a retry and a failure, and none beside itself', function (World $w): void {
    $queue = $w->laravel['queue']->connection('sqs');
    $push = static function (string $group, int $number, object $job) use ($w, $queue): void {
        $job->tag = "{$group}{$number}";
        // Of itself, Laravel names the group of a job from 12.27 on.
        $payload = (fn (): string => $this->createPayload($job, 'mail.fifo', ''))->call($queue);
        $w->backend->pushToGroup($payload, 'mail.fifo', $group);
    };
    foreach (range(1, 5) as $number) {
        foreach (['a', 'b', 'c'] as $group) {
            $push($group, $number, match ("{$group}{$number}") {
                'a2' => (new Throws(1))->with(['tries' => 2]),
                'b3' => (new Throws())->with(['tries' => 1]),
                default => new Sleeps(30),
            });
        }
    }
    $w->work(['queue' => 'mail.fifo']);

    $facts = array_filter($w->journal(), static fn (array $fact): bool => in_array($fact['what'], ['start', 'threw', 'end'], true));
    foreach (['a' => 'a1 a2 a2 a3 a4 a5', 'b' => 'b1 b2 b3 b4 b5', 'c' => 'c1 c2 c3 c4 c5'] as $group => $order) {
        $own = array_values(array_filter($facts, static fn (array $fact): bool => $fact['tag'][0] === $group));
        $starts = array_filter($own, static fn (array $fact): bool => $fact['what'] === 'start');
        $w->expectSame($order, implode(' ', array_column($starts, 'tag')), "starts of group {$group}");
        foreach ($own as $i => $fact) {
            $w->expect(($fact['what'] === 'start') === ($i % 2 === 0), "one of group {$group} at a time");
        }
    }
    $w->expectFailed(1, 'thrown on purpose');
    $w->expectGone();
}, drivers: ['sqs']);

row(68, 'the pointer to a payload that is kept elsewhere: the job runs, and its payload goes with it', function (World $w): void {
    $uuid = $w->dispatch(new Plain());
    $again = $w->dispatch((new Throws(1))->with(['tries' => 2]));
    $failing = $w->dispatch((new Throws())->with(['tries' => 1]));
    foreach ($w->backend->state()->ready as $job) {
        $w->expectContains('"@pointer"', $job['payload'], 'a message');
    }
    $w->expectSame(3, count($w->backend->cacheKeys()), 'payloads in the cache');
    $w->work();
    $w->expectRuns(1, $uuid);
    $w->expectAttempts([1, 2], $again);
    $w->expectFailed(1, 'thrown on purpose', $failing);
    $w->expectSame([], $w->backend->cacheKeys(), 'payloads in the cache');
    $w->expectGone();
}, drivers: ['sqs'], since: '13.9', env: ['SQS_OVERFLOW' => 'true'], tiers: false);

row(69, 'release(0): visible at once; release(100000): more than SQS takes', function (World $w): void {
    $now = $w->dispatch((new Releases(0))->with(['tries' => 3]));
    $w->work();
    $w->expectAttempts([1, 2], $now);
    $w->expectGone();
    $w->expectFailed(0);
    $late = $w->dispatch((new Releases(100_000))->with(['tries' => 2]));
    $w->work();
    // The call is refused: that is an exception in the job like any other, but it has released itself before.
    $w->expectAttempts([1], $late);
    $w->expectQueue(reserved: 1);
}, drivers: ['sqs']);
