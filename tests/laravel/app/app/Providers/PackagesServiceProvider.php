<?php

declare(strict_types=1);

namespace App\Providers;

use App\Journal;
use Illuminate\Console\Events\CommandStarting;
use Illuminate\Queue\Events;
use Illuminate\Queue\Queue;
use Illuminate\Queue\QueueManager;
use Illuminate\Support\ServiceProvider;
use Laravel\Horizon\Connectors\RedisConnector;
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
        if (env('HORIZON')) {
            require_once dirname(__DIR__, 2) . '/packages/horizon.php';
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
