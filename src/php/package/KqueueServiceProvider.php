<?php

declare(strict_types=1);

namespace Kqueue;

use Illuminate\Contracts\Foundation\CachesRoutes;
use Illuminate\Queue\Events\JobQueued;
use Illuminate\Queue\Queue;
use Illuminate\Support\ServiceProvider;
use Kqueue\Console\JobsCommand;
use Kqueue\Console\PoolCommand;
use Kqueue\Console\StatsCommand;
use Kqueue\Console\StatusCommand;
use Kqueue\Console\TuneCommand;
use Kqueue\Console\WorkCommand;
use Kqueue\Http\Authorize;
use Kqueue\Http\Dashboard;

/**
 * Everything in this package is optional: kqueue runs the jobs of an app that does not have it.
 */
final class KqueueServiceProvider extends ServiceProvider
{
    public function register(): void
    {
        $this->mergeConfigFrom(__DIR__.'/config/kqueue.php', 'kqueue');
    }

    public function boot(): void
    {
        Queue::createPayloadUsing(static fn (?string $connection, ?string $queue, array $payload): array => Hints::of($payload));
        $this->app['events']->listen(JobQueued::class, fn (JobQueued $event) => Doorbell::of($this->app)->queued($event->connectionName));

        $this->mountDashboard();

        if ($this->app->runningInConsole()) {
            $this->publishes([__DIR__.'/config/kqueue.php' => $this->app->configPath('kqueue.php')], 'kqueue-config');
            $this->commands([
                JobsCommand::class,
                PoolCommand::class,
                StatsCommand::class,
                StatusCommand::class,
                TuneCommand::class,
                WorkCommand::class,
            ]);
        }
    }

    private function mountDashboard(): void
    {
        $dashboard = $this->app['config']['kqueue.dashboard'];

        if (! is_array($dashboard) || trim((string) ($dashboard['path'] ?? ''), '/') === '' || ($this->app instanceof CachesRoutes && $this->app->routesAreCached())) {
            return;
        }

        $path = trim($dashboard['path'], '/');
        $middleware = [...(array) ($dashboard['middleware'] ?? []), Authorize::class];
        $this->app['router']->name('kqueue')->middleware($middleware)->get($path.'/{page?}', Dashboard::class)->where('page', '.*');
        $this->app['router']->name('kqueue.act')->middleware($middleware)->post($path.'/act/{deed}', [Dashboard::class, 'act'])->where('deed', '[a-z]+');
    }
}
