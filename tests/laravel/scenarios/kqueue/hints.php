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

row('hints', 'kqueue check lists what queued classes declare, what is ignored of it, and classes that cannot be loaded', function (World $w): void {
    file_put_contents($w->sandbox->app . '/app/Jobs/Uncompilable.php', "<?php\nnamespace App\\Jobs;\nclass Uncompilable implements \\Illuminate\\Contracts\\Queue\\ShouldQueue, \\Countable { public function count(int \$x): int { return 1; } }\n");
    $check = static function () use ($w): array {
        exec(implode(' ', array_map('escapeshellarg', [getenv('KQUEUE_BIN'), 'check', '--json', '--path', $w->sandbox->app, ...(posix_geteuid() === 0 ? ['--as-root'] : [])])), $lines);
        $findings = json_decode(implode("\n", $lines), true)[0]['findings'] ?? [];

        return array_column($findings, null, 'check');
    };
    $found = $check();
    $w->expectContains('App\Jobs\Meanings: ', $found['ignored-hints']['what'] ?? '', 'what is ignored');
    $w->expectContains('property_hints = false', $found['ignored-hints']['fix'] ?? '', 'the fix');
    $w->expectContains('App\Jobs\Heavy: isolated true', $found['hints']['what'] ?? '', 'what is declared');
    $w->expectSame(['note', 'warning'], [$found['hints']['severity'] ?? '', $found['class']['severity'] ?? ''], 'how bad that is');
    $w->expectContains('App\Jobs\Uncompilable: ', $found['class']['what'], 'what cannot be loaded');
}, drivers: ['redis'], engines: ['kqueue']);
