<?php

declare(strict_types=1);

namespace App\Providers;

use App\Journal;
use Illuminate\Console\Scheduling\Schedule;
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

        // For the scheduler: a task in its own process, and one in the background, if somebody has written it.
        $this->callAfterResolving(Schedule::class, function (Schedule $schedule): void {
            $schedule->call(static fn () => Journal::write('scheduled', ['user' => posix_geteuid()]))->name('tick')->everyMinute();
            $task = $this->app->basePath('background-task');
            is_file($task) && $schedule->exec("sh {$task}")->everyMinute()->runInBackground();
        });

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
