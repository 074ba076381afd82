<?php

/** What kqueue tells of jobs on its control socket, compared with what happened to them. */

declare(strict_types=1);

use App\Jobs\EatsMemory;
use App\Jobs\Fails;
use App\Jobs\Plain;
use App\Jobs\Releases;
use App\Jobs\Waits;
use Illuminate\Queue\Queue;
use Kqueue\Tests\Wait;
use Kqueue\Tests\World;

$uuids = static fn (array $told): array => array_column($told['jobs'], 'uuid');

row('history', 'jobs, job, stats, series and events tell what happened', function (World $w) use ($uuids): void {
    $go = $w->sandbox->dir . '/go';
    $daemon = $w->start(['pool-size' => 1, 'pool-max-size' => 1, 'max-waiting' => 1, 'tries' => 3]);
    $done = $w->dispatch(new Plain());
    $failed = $w->dispatch(new Fails('out of paper'));
    $released = $w->dispatch(new Releases(0));
    $w->waitFor('end', 4);
    Wait::until(static fn (): bool => count($uuids($w->ask('jobs'))) === 4, 'four attempts that ended');

    $told = $w->ask('jobs', ['state' => 'failed']);
    $w->expectSame([$failed], $uuids($told), 'what failed');
    $w->expectContains('out of paper', $told['jobs'][0]['cause'], 'why');
    $well = $uuids($w->ask('jobs', ['state' => 'done']));
    sort($well);
    $expected = [$done, $released];
    sort($expected);
    $w->expectSame($expected, $well, 'what ended well');
    $w->expectSame([$failed], $uuids($w->ask('jobs', ['class' => 'Fails'])), 'those of a class');
    $w->expectSame([], $uuids($w->ask('jobs', ['queue' => 'other'])), 'those of another queue');
    $first = $w->ask('jobs', ['limit' => 3]);
    $second = $w->ask('jobs', ['limit' => 3, 'after' => $first['next']]);
    $w->expectSame([3, 1, null], [count($first['jobs']), count($second['jobs']), $second['next']], 'two pages');

    $told = $w->ask('job', ['uuid' => $released]);
    $w->expectSame([['released', 1], ['done', 2]], array_map(static fn (array $job): array => [$job['state'], $job['attempt']], $told['attempts']), 'the attempts');
    foreach ($told['attempts'] as $attempt) {
        $w->expect($attempt['started'] >= $attempt['queued'] && $attempt['ended'] >= $attempt['started'], 'times in order: ' . json_encode($attempt));
        $w->expect($attempt['wait_ms'] >= 0 && $attempt['wait_ms'] < 30_000, 'a wait: ' . json_encode($attempt));
        $w->expect($attempt['memory_peak'] > 1 << 20 && $attempt['cpu_usec'] > 0, 'memory and processor time: ' . json_encode($attempt));
        $w->expect($attempt['why'] !== null && $attempt['tier'] !== null, 'why it ran there: ' . json_encode($attempt));
    }

    $stats = $w->ask('stats');
    $w->expectSame(['done' => 2, 'failed' => 1, 'released' => 1], $stats['total']['outcomes'], 'outcomes');
    $byClass = array_column($stats['classes'], 'outcomes', 'class');
    $w->expectSame(['done' => 1, 'released' => 1], $byClass[Releases::class], 'outcomes of a class');
    $w->expectSame(['default'], array_column($stats['queues'], 'queue'), 'the queues');
    $points = $w->ask('series', ['points' => 60])['points'];
    $w->expectSame(4, array_sum(array_map(static fn (array $point): int => array_sum($point['outcomes']), $points)), 'attempts over time');
    $rows = $w->ask('metrics')['rows'];
    $w->expectSame(4, array_sum(array_map(static fn (array $row): int => array_sum($row['outcomes']), $rows)), 'attempts since the start');
    $events = array_column($w->ask('events')['events'], 'text');
    $w->expectContains('started: kqueue', implode("\n", $events), 'the events');
    $w->expectContains('worker', implode("\n", $events), 'the events');
    $w->expectSame(1, $w->status()[0]['failed_hour'], 'failures of the last hour');

    // What runs, what waits here and in the queue, what is delayed.
    $running = $w->dispatch(new Waits($go, 'pooled'));
    $w->waitFor('start', uuid: $running);
    $w->expectSame([$running], $uuids($w->ask('jobs', ['state' => 'running'])), 'what runs');
    $waiting = $w->dispatchMany(new Waits($go, 'pooled'), 5);
    $delayed = $w->dispatch(new Plain(), delay: 600);
    $told = Wait::until(static fn (): ?array => count($uuids($told = $w->ask('jobs', ['state' => 'waiting']))) === 5 ? $told : null, 'five that wait');
    $found = $uuids($told);
    sort($found);
    sort($waiting);
    $w->expectSame($waiting, $found, 'what waits, wherever it is');
    $told = $w->ask('jobs', ['state' => 'delayed']);
    $w->expectSame([[$delayed, Plain::class, 0]], array_map(static fn (array $job): array => [$job['uuid'], $job['class'], $job['attempt']], $told['jobs']), 'what is delayed');
    $w->expect(abs($told['jobs'][0]['due'] / 1000 - time() - 600) < 60, 'when it is due');
    $w->expectSame('delayed', $w->ask('job', ['uuid' => $delayed])['attempts'][0]['state'], 'a job that the queue has');
    $job = $w->ask('job', ['uuid' => $running, 'payload' => true]);
    $w->expectSame(['running', 600], [$job['attempts'][0]['state'], $job['attempts'][0]['timeout']], 'a job that runs');
    $w->expectSame($running, json_decode($job['payload'], true)['uuid'], 'its payload, which the user may see');
    $waits = static fn (array $told): bool => $told['waiting'] === 5 && $told['queues'][0]['oldest'] !== null;
    $queue = $w->waitForStatus('running', 0, $waits)['queues'][0];
    $w->expect($queue['oldest'] < 60, 'how long the oldest has waited: ' . json_encode($queue));

    touch($go);
    $w->waitFor('end', 10);
    $daemon->stop();

    // The next runtime knows what there was before it.
    $w->start();
    $w->waitForStatus('running');
    $w->expectSame([$failed], $uuids($w->ask('jobs', ['state' => 'failed'])), 'what failed before');
    $w->expectSame(10, array_sum($w->ask('stats')['total']['outcomes']), 'what was counted before');
    $events = array_column($w->ask('events')['events'], 'text');
    $w->expectContains('stopped: ', implode("\n", $events), 'the events before');

    // Where Horizon's queue puts them.
    Queue::createPayloadUsing(static fn (): array => ['tags' => ['App\\Models\\Order:7', 'late'], 'silenced' => false]);
    $tagged = $w->dispatch(new Plain());
    Queue::createPayloadUsing(null);
    foreach (['App\\Models\\Order:7', 'late'] as $tag) {
        Wait::until(static fn (): bool => $uuids($w->ask('jobs', ['tag' => $tag, 'state' => 'done'])) === [$tagged], "the job with tag {$tag}");
    }
    $w->expectSame([], $uuids($w->ask('jobs', ['tag' => 'Order:7'])), 'a part of a tag is none');
}, engines: ['kqueue']);

row('history', 'the memory that a job took at most, by PHP\'s heap, and not that of the job before', function (World $w): void {
    $w->start(['worker-memory-max' => 1024]);
    // As long as a job is quick, its process is not looked at from outside.
    $large = $w->dispatch(new EatsMemory(90));
    $w->waitFor('end', uuid: $large);
    $small = $w->dispatch(new Plain());
    $w->waitFor('end', uuid: $small);
    $peak = static fn (string $uuid): ?int => Wait::until(static fn (): ?array => $w->ask('job', ['uuid' => $uuid])['attempts'][0] ?? null, 'its end')['memory_peak'];
    $w->expect($peak($large) > 90 << 20, 'the large one: ' . $peak($large));
    $w->expect(! function_exists('memory_reset_peak_usage') || $peak($small) < 90 << 20, 'the small one: ' . $peak($small));
}, engines: ['kqueue'], drivers: ['redis']);

row('history', 'it is off where it is not wanted: no file, and jobs run as before', function (World $w) use ($uuids): void {
    $w->start(['history' => 'false']);
    $w->dispatch(new Fails('out of paper'));
    $w->waitFor('end');
    Wait::until(static fn (): bool => $w->status()[0]['failed_hour'] === 1, 'a failure');
    $told = $w->ask('jobs');
    $w->expectSame([], $uuids($told), 'jobs that ended');
    $w->expectContains('history is off', $told['lacks'][0], 'why there are none');
    $w->expect(! file_exists($w->sandbox->dir . '/state/history.sqlite'), 'no file');
}, engines: ['kqueue'], drivers: ['redis']);
