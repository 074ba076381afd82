<?php

declare(strict_types=1);

namespace App\Providers;

use App\Journal;
use Illuminate\Queue\Events;
use Illuminate\Support\ServiceProvider;

/** Writes every event of the queue to the journal, as the running version fires it. */
class RecorderServiceProvider extends ServiceProvider
{
    private const EVENTS = [
        Events\JobProcessing::class,
        Events\JobProcessed::class,
        Events\JobFailed::class,
        Events\JobExceptionOccurred::class,
        'Illuminate\Queue\Events\JobReleased',
        'Illuminate\Queue\Events\JobReleasedAfterException',
        'Illuminate\Queue\Events\JobTimedOut',
        'Illuminate\Queue\Events\JobAttempted',
        Events\WorkerStopping::class,
    ];

    /** @return void */
    public function register()
    {
        // HandleExceptions has just switched everything on; on Laravel 8 each deprecated line of the
        // framework would take the way through the logger.
        error_reporting(E_ALL & ~E_DEPRECATED & ~E_USER_DEPRECATED);
    }

    public function boot(): void
    {
        // The benchmarks measure without it.
        if (env('RECORD') === false) {
            return;
        }

        foreach (array_filter(self::EVENTS, 'class_exists') as $class) {
            $this->app['events']->listen($class, static function (object $event) use ($class): void {
                $exception = $event->exception ?? null;
                Journal::write('event', array_filter([
                    'event' => class_basename($class),
                    'exception' => is_object($exception) ? get_class($exception) : null,
                    'status' => $event->status ?? null,
                    'delay' => $event->delay ?? $event->backoff ?? null,
                ], static fn ($value): bool => $value !== null) + Journal::about($event->job ?? null));
            });
        }
    }
}
