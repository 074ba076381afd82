<?php

declare(strict_types=1);

namespace App\Providers;

use App\DecoratedQueue;
use App\Journal;
use App\Queues;
use ArrayObject;
use Illuminate\Cache\RateLimiter;
use Illuminate\Cache\RateLimiting\Limit;
use Illuminate\Mail\Events\MessageSent;
use Illuminate\Queue\Events\JobDebounced;
use Illuminate\Queue\Events\JobProcessing;
use Illuminate\Queue\Events\Looping;
use Illuminate\Queue\QueueManager;
use Illuminate\Support\Facades\DB;
use Illuminate\Support\ServiceProvider;
use RuntimeException;

/** What single scenarios need of the app. The listeners that change what happens are named in LISTENERS. */
class ScenarioServiceProvider extends ServiceProvider
{
    public function register(): void
    {
        $this->callAfterResolving('queue', function (QueueManager $manager): void {
            $manager->extend('own', fn (): object => DecoratedQueue::connector($this->app));
        });
        if ($own = env('OWN_QUEUE')) {
            $this->callAfterResolving('queue', function (QueueManager $manager) use ($own): void {
                foreach (['redis', 'database'] as $driver) {
                    $manager->addConnector($driver, fn (): object => Queues::$own($this->app, $driver));
                }
            });
        }
        $this->app->singleton('box', static fn (): ArrayObject => new ArrayObject());
        $this->app->scoped('scoped.box', static fn (): ArrayObject => new ArrayObject());
        $this->callAfterResolving(RateLimiter::class, static function (RateLimiter $limiter): void {
            $limiter->for('one-a-minute', static fn (): Limit => Limit::perMinute(1));
        });
    }

    public function boot(): void
    {
        $events = $this->app['events'];
        $events->listen(MessageSent::class, static function (MessageSent $event): void {
            Journal::write('mail', ['subject' => $event->message->getSubject()]);
        });
        $events->listen(JobDebounced::class, static function (JobDebounced $event): void {
            Journal::write('debounced', Journal::about($event->job));
        });
        foreach (array_filter(explode(',', (string) env('LISTENERS', ''))) as $name) {
            $events->listen(...$this->listener($name));
        }
    }

    /** @return array{class-string, \Closure} */
    private function listener(string $name): array
    {
        return match ($name) {
            'hold' => [Looping::class, static function (): ?bool {
                if (! file_exists(base_path('hold'))) {
                    return null;
                }
                Journal::write('held');

                return false;
            }],
            'rollback' => [Looping::class, static function (): void {
                while (DB::transactionLevel() > 0) {
                    DB::rollBack();
                    Journal::write('rolled back');
                }
            }],
            'throw' => [JobProcessing::class, static function (JobProcessing $event): void {
                if ($event->job->attempts() === 1) {
                    throw new RuntimeException('thrown by a listener');
                }
            }],
        };
    }
}
