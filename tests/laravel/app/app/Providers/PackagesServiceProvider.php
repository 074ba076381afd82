<?php

declare(strict_types=1);

namespace App\Providers;

use App\Journal;
use Illuminate\Console\Events\CommandStarting;
use Illuminate\Queue\Events;
use Illuminate\Queue\Queue;
use Illuminate\Queue\QueueManager;
use Illuminate\Support\ServiceProvider;
use Kqueue\Tests\Horizon\MonitorWaits;
use Kqueue\Tests\Horizon\Records;
use Laravel\Horizon\Connectors\RedisConnector;
use Laravel\Horizon\Contracts;
use Laravel\Horizon\Events as Horizon;

/**
 * What packages that watch a queue do in the worker, for the scenarios that ask for it: Horizon replaces the queue,
 * Telescope, Pulse and Sentry listen, collect what they hear, and store it when they are given the time.
 */
class PackagesServiceProvider extends ServiceProvider
{
    /** @var list<array<string, mixed>> */
    private array $collected = [];

    /** @return void */
    public function register()
    {
        if (env('WRAPPERS')) {
            require_once dirname(__DIR__, 2) . '/packages/wrappers.php';
        }
        if (env('HORIZON')) {
            require_once dirname(__DIR__, 2) . '/packages/horizon.php';
            env('HORIZON_MASTER') && $this->horizonMaster();
            $this->app->resolving(QueueManager::class, function (QueueManager $manager): void {
                $manager->addConnector('redis', fn (): RedisConnector => new RedisConnector($this->app['redis']));
            });
        }
    }

    public function boot(): void
    {
        env('HORIZON') && $this->horizon();
        env('WATCHED') && $this->watch();
    }

    /** Its records, and what listens to the turns of its loops. */
    private function horizonMaster(): void
    {
        require_once dirname(__DIR__, 2) . '/packages/horizon-master.php';
        $this->app->singleton(Contracts\JobRepository::class, fn (): Records => new Records('job'));
        $this->app->singleton(Contracts\MasterSupervisorRepository::class, fn (): Records => new Records('master'));
        $this->app->singleton(Contracts\SupervisorRepository::class, fn (): Records => new Records('supervisor'));
        $this->app->singleton(Contracts\HorizonCommandQueue::class, fn (): Records => new Records('command'));
        $events = $this->app['events'];
        $events->listen(Horizon\MasterSupervisorLooped::class, function (Horizon\MasterSupervisorLooped $event): void {
            $jobs = $this->app->make(Contracts\JobRepository::class);
            $jobs->trimRecentJobs();
            $jobs->trimFailedJobs();
            $jobs->trimMonitoredJobs();
            $this->app->make(Contracts\MasterSupervisorRepository::class)->flushExpired();
            $this->app->make(Contracts\SupervisorRepository::class)->flushExpired();
            $event->master->memoryUsage() > 64 && $event->master->terminate(12);
        });
        $events->listen(Horizon\SupervisorLooped::class, static function (Horizon\SupervisorLooped $event): void {
            $event->supervisor->pruneTerminatingProcesses();
            $event->supervisor->memoryUsage() > $event->supervisor->options->memory && $event->supervisor->terminate(12);
        });
        $events->listen(Horizon\SupervisorLooped::class, MonitorWaits::class);
        $events->listen(Horizon\LongWaitDetected::class, static function (Horizon\LongWaitDetected $event): void {
            Journal::write('long wait', ['connection' => $event->connection, 'queue' => $event->queue]);
        });
    }

    private function horizon(): void
    {
        foreach ([Horizon\JobPushed::class, Horizon\JobReserved::class, Horizon\JobReleased::class, Horizon\JobDeleted::class] as $class) {
            $this->app['events']->listen($class, static function (Horizon\Event $event): void {
                Journal::write('event', [
                    'event' => 'horizon.' . class_basename($event),
                    'uuid' => $event->payload['uuid'],
                    'attempts' => $event->payload['attempts'],
                    'connection' => $event->connectionName,
                    'queue' => $event->queue,
                ]);
            });
        }
    }

    private function watch(): void
    {
        $events = $this->app['events'];
        // As Pulse counts what the cache is asked while the app boots.
        $this->collected[] = ['event' => 'booted', 'by' => getmypid()];
        // Telescope gives each job an id of its own in the payload, by which it finds it again in the worker.
        Queue::createPayloadUsing(static fn (?string $connection, ?string $queue, array $payload): array => ['watched' => "watched-{$payload['uuid']}"]);
        $events->listen(Events\JobQueued::class, static function (Events\JobQueued $event): void {
            Journal::write('queued', ['class' => class_basename($event->job), 'connection' => $event->connectionName]);
        });
        foreach ([
            Events\JobProcessing::class, Events\JobProcessed::class, Events\JobFailed::class,
            Events\JobExceptionOccurred::class, 'Illuminate\Queue\Events\JobReleasedAfterException',
        ] as $class) {
            class_exists($class) && $events->listen($class, function (object $event): void {
                $this->collected[] = [
                    'event' => class_basename($event),
                    'worker' => $event->connectionName,
                    'name' => $event->job->resolveName(),
                    'watched' => $event->job->payload()['watched'] ?? null,
                    'tag' => unserialize($event->job->payload()['data']['command'])->tag,
                    'exception' => isset($event->exception) ? $event->exception->getMessage() : null,
                    // By which some decide that they are in a worker.
                    'command' => $_SERVER['argv'][1] ?? null,
                    'heard' => microtime(true),
                ] + Journal::about($event->job);
            });
        }
        $events->listen(CommandStarting::class, static function (CommandStarting $event): void {
            Journal::write('command', ['name' => $event->command]);
        });
        // Pulse stores between jobs and at the end, Sentry at the end.
        $events->listen([Events\Looping::class, Events\WorkerStopping::class], function (): void {
            foreach (array_splice($this->collected, 0) as $entry) {
                Journal::write('stored', $entry);
            }
        });
    }
}
