<?php

/** What kqueue tells of jobs on its control socket, compared with what happened to them. */

declare(strict_types=1);

use App\Jobs\Fails;
use App\Jobs\Plain;
use App\Jobs\Releases;
use App\Jobs\Waits;
use Kqueue\Tests\Wait;
use Kqueue\Tests\World;

row('history', 'jobs, job and stats tell what happened', function (World $w): void {
    $go = $w->sandbox->dir . '/go';
    $w->start(['pool-size' => 1, 'pool-max-size' => 1, 'tries' => 3]);
    $done = $w->dispatch(new Plain());
    $failed = $w->dispatch(new Fails('out of paper'));
    $released = $w->dispatch(new Releases(0));
    $w->waitFor('end', 3);
    $uuids = static fn (array $told): array => array_column($told['jobs'], 'uuid');
    Wait::until(static fn (): bool => count($uuids($w->ask('jobs'))) === 4, 'four attempts that ended');

    $told = $w->ask('jobs', ['state' => 'failed']);
    $w->expectSame([$failed], $uuids($told), 'what failed');
    $w->expectContains('out of paper', $told['jobs'][0]['cause'], 'why');
    $w->expectSame([$done, $released], array_values(array_intersect([$done, $released], $uuids($w->ask('jobs', ['state' => 'done'])))), 'what ended well');

    $told = $w->ask('job', ['uuid' => $released, 'payload' => true]);
    $w->expectSame([['released', 1], ['done', 2]], array_map(static fn (array $job): array => [$job['state'], $job['attempt']], $told['attempts']), 'the attempts');

    $running = $w->dispatch(new Waits($go, 'pooled'));
    $w->waitFor('start', uuid: $running);
    $waiting = $w->dispatch(new Waits($go, 'pooled'));
    Wait::until(static fn (): bool => $uuids($w->ask('jobs', ['state' => 'waiting'])) === [$waiting], 'one that waits');
    $w->expectSame([$running], $uuids($w->ask('jobs', ['state' => 'running'])), 'what runs');
    touch($go);
    $w->waitFor('end', 5);
}, engines: ['kqueue']);
