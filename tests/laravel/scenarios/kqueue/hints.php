<?php

/** What jobs declare for kqueue: by whom, where it is meant otherwise, and where it is not wanted. */

declare(strict_types=1);

use App\Actions;
use App\Jobs\Heavy;
use App\Jobs\Meanings;
use Kqueue\Tests\World;
use Lorisleiva\Actions\Decorators\JobDecorator;
use Spatie\QueueableAction\ActionJob;

row('hints', 'actions that a package wraps in one job class: each is routed by its own class and what that declares', function (World $w): void {
    foreach ([ActionJob::class, JobDecorator::class] as $wrapper) {
        foreach ([Actions\Quick::class, Actions\Slow::class, Actions\Alone::class] as $id => $action) {
            $w->dispatch(new $wrapper($action, $id));
        }
    }
    $w->work();
    $w->expectSame(6, count($w->journal('end')), 'jobs that ended');
    foreach ([Actions\Quick::class => 'inline', Actions\Slow::class => 'pooled', Actions\Alone::class => 'isolated'] as $class => $tier) {
        $w->expectSame([$tier, $tier], $w->tiers($class, 2), "tiers of {$class}");
    }
    $w->expectGone();
}, drivers: ['redis'], engines: ['kqueue'], env: ['WRAPPERS' => 'true']);

row('hints', 'properties of an app that mean something else: ignored in class and job, said once, and the jobs run', function (World $w): void {
    foreach ([2, 1, 'much', 268435456, [1]] as $memory) {
        $w->dispatch((new Meanings())->with(['maxMemory' => $memory, 'tries' => 1]));
    }
    $w->work();
    $w->expectFailed(0);
    $w->expectSame(5, count($w->journal('end')), 'jobs that ended');
    $w->expectSame(0, count(array_intersect(array_column($w->journal('limit'), 'limit'), ['1M', '2M'])), 'jobs that were held to it');
    $said = preg_grep('/App\\\\Jobs\\\\Meanings declares .*property_hints = false/', explode("\n", $w->output()));
    $w->expectSame(1, count($said), 'lines that say so');
    foreach (['maxMemory 2', "priority 'high'", "isolated 'tenant-7'", 'maxTasks of type array'] as $value) {
        $w->expectContains($value, implode($said), 'the line');
    }
}, drivers: ['redis'], engines: ['kqueue']);

row('hints', 'property_hints = false: properties are the app\'s, in classes and in jobs', function (World $w): void {
    $w->dispatch(new Heavy(1));
    $w->dispatch((new Meanings())->with(['maxMemory' => 4, 'isolated' => true]));
    $w->work(['property-hints' => 'false', 'default-tier' => 'pooled']);
    $w->expectFailed(0);
    $w->expectSame(['pooled'], $w->tiers(Heavy::class), 'the tier of a job with $isolated = true');
    $w->expectSame(['pooled'], $w->tiers(Meanings::class), 'the tier of a job that sets it');
    $w->expect(! str_contains($w->output(), 'declares'), 'nothing is said of them');
}, drivers: ['redis'], engines: ['kqueue']);
