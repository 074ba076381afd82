<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Illuminate\Cache\Repository;
use Illuminate\Contracts\Events\Dispatcher;
use Illuminate\Contracts\Foundation\Application;
use Illuminate\Contracts\Queue\Job;
use Illuminate\Queue\Console\WorkCommand;
use Illuminate\Queue\Events\JobExceptionOccurred;
use Illuminate\Queue\Events\JobFailed;
use Illuminate\Queue\Events\JobProcessed;
use Illuminate\Queue\Events\WorkerStopping;
use Illuminate\Queue\Worker;
use Symfony\Component\Console\Input\ArgvInput;
use Symfony\Component\Console\Output\NullOutput;
use Throwable;

/**
 * Runs jobs with the stock `queue:work`, which takes them from the runtime instead of the queue.
 *
 * Job semantics (middleware, retries, failed jobs, batches, events) are left to Laravel.
 */
final class Loop
{
    /** Seconds after which an idle worker returns to Laravel's loop, so that the loop's listeners are called. */
    private const IDLE = 3.0;

    /** Seconds to wait for the runtime to record the result of an isolated job. */
    private const FAREWELL = 30.0;

    private Worker $worker;

    private Jobs $jobs;

    private Dispatcher $events;

    /** Pops jobs where the runtime has no backend for the queue. */
    private Pop $pop;

    private Signals $signals;

    private Usage $usage;

    private Limits $limits;

    private ?Job $job = null;

    /** Whether the runtime has our READY and has not answered it. */
    private bool $asked = false;

    /** A job that Laravel has finished, and that the runtime has not been told to remove yet. */
    private ?RuntimeJob $finished = null;

    private ?Throwable $error = null;

    private string $reserve = '';

    /** Whether Laravel's loop has begun. */
    private bool $begun = false;

    /** Whether all JobFailed listeners have been called for the current job. */
    private bool $toldOfFailure = false;

    private Patience $patience;

    /** Id of the last job received; null before the first. */
    private ?int $last = null;

    /** @var array<string, mixed> result of that job once it has ended; a restarted runtime may not have received it */
    private array $outcome = [];

    /**
     * @param resource|null $tickets the FIFO from which jobs sent ahead are claimed
     * @param \Closure(int): ?Wire|null $redial connects to the next runtime, with the id of the last job
     */
    public function __construct(
        private Wire $wire,
        private Boot $boot,
        private string $mode,
        private $tickets,
        private Notify $notify,
        private ?\Closure $redial,
    ) {
    }

    /**
     * Has to run before `queue:work` is resolved: makes its restart signal come from the runtime, which reads it
     * once for all workers, instead of from the cache at every job.
     */
    public static function prepare(Application $app): void
    {
        require_once __DIR__.'/Cancelled.php';
        require_once __DIR__.'/Jobs.php';
        require_once __DIR__.'/Replay.php';
        require_once __DIR__.'/RestartSignal.php';

        $app->afterResolving(WorkCommand::class, static function (WorkCommand $command): void {
            \Closure::bind(function (): void {
                if (property_exists($this, 'cache') && $this->cache instanceof Repository) {
                    $this->cache = RestartSignal::over($this->cache);
                }
            }, $command, WorkCommand::class)();
        });
    }

    public function run(): int
    {
        $app = $this->boot->app;

        if ($this->mode === 'pooled' || ! class_exists(RestartSignal::class, false)) {
            self::prepare($app);
        }

        $this->worker = $app->make('queue.worker');
        $this->jobs = new Jobs($app, $this->worker->getManager(), $this->boot->connection(), $this->deleted(...));
        $this->events = $app['events'];
        $this->listen();
        Nested::guard($this->worker);
        Sqlite::takeTurns($app);
        $this->pop = new Pop;
        $this->signals = new Signals($this->boot);
        $this->usage = new Usage;
        $this->usage->watch($this->worker);
        $this->limits = new Limits;
        $this->patience = new Patience;
        Worker::popUsing('kqueue', fn (\Closure $pop, string $queues) => $this->next($pop, $queues));

        $input = new ArgvInput($this->boot->arguments());
        $status = $this->boot->kernel->handle($input, new NullOutput);
        $this->boot->kernel->terminate($input, $status);
        $this->part();
        $this->wire->close();

        return $status;
    }

    private function listen(): void
    {
        $events = $this->events;
        $note = function (JobExceptionOccurred|JobFailed $event): void {
            $this->error = $event->exception;
        };
        $events->listen(JobExceptionOccurred::class, $note);
        $events->listen(JobFailed::class, $note);
        $events->listen(WorkerStopping::class, function (WorkerStopping $event): void {
            Nested::runs() || $this->report(Wire::STOPPING, ['status' => (int) ($event->status ?? 0), 'done' => $this->done()] + $this->fault());
        });

        // Sends DIED before the socket closes, on exit() in a job and on fatal errors. The reserve is memory for that.
        $this->reserve = str_repeat("\0", 65536);
        register_shutdown_function(function (): void {
            $this->reserve = '';

            // Not in a child that the job has forked.
            if ($this->job !== null && $this->wire->isOurs()) {
                @ini_set('memory_limit', '-1');
                $error = error_get_last();
                $fatal = $error && ($error['type'] & (E_ERROR | E_PARSE | E_CORE_ERROR | E_COMPILE_ERROR | E_USER_ERROR | E_RECOVERABLE_ERROR));
                $this->report(Wire::DIED, [
                    'fatal' => $fatal ? "{$error['message']} in {$error['file']}:{$error['line']}" : null,
                    'deleted' => $this->job->isDeleted(),
                    'released' => $this->job->isReleased(),
                    'failed' => $this->job->hasFailed(),
                    'unfinished' => $this->job->hasFailed() && ! $this->toldOfFailure,
                    'ack' => $this->finished !== null,
                    'error' => $this->error === null ? null : Output::text($this->error),
                ] + $this->usage->used());
            }
        });
    }

    /** The pop callback. An error that is not the queue's own ends the process: Laravel would retry for ever. */
    private function next(\Closure $pop, string $queues): ?Job
    {
        if (! $this->wire->isOurs()) {
            Output::say('a child process forked by a job returned to the worker loop instead of exiting: ending it');
            exit(0);
        }

        try {
            return $this->nextJob($pop, $queues);
        } catch (Throwable $error) {
            if ($error === $this->pop->fault) {
                // An error of the queue: Laravel reports it, and quits if the connection is lost.
                throw $error;
            }

            Output::say('this process exits: '.Output::text($error));
            $this->worker->shouldQuit = true;

            return null;
        }
    }

    /** Reports the last job, asks for the next and waits for it, or goes on with one sent ahead. */
    private function nextJob(\Closure $pop, string $queues): ?Job
    {
        if (! $this->begun) {
            $this->begun = true;
            Silence::over($this->events);
            // Registered after the listeners of `queue:work`, which record the failure.
            $this->events->listen(JobFailed::class, function (JobFailed $event): void {
                $this->toldOfFailure = $this->toldOfFailure || $event->job === $this->job;
            });
        }

        if ($this->job !== null && ($this->mode === 'isolated' || $this->boot->isTransactionOpen() || Output::isClosed())) {
            $this->worker->shouldQuit = true;

            return null;
        }

        $done = $this->done();
        // Only between two jobs: a worker that quits must not hold a claimed job.
        $ticket = $done !== null && ! $this->worker->shouldQuit ? $this->ticket() : null;

        if ($ticket !== null) {
            $this->asked = $this->report(Wire::NEXT, ['done' => $done, 'job' => $ticket]);
        } elseif (! $this->asked || $done) {
            $this->asked = $this->report(Wire::READY, ($done ? ['done' => $done] : []) + $this->fault());
            $this->last === null && $this->notify->ready();
        }

        while (true) {
            $frame = $this->wire->receive(self::IDLE, $done !== null);
            $done = null;

            if ($frame === null) {
                if ($ticket !== null || $this->pop->job !== null) {
                    // A claimed job is on its way to this worker only, and a popped one is held by this worker only.
                    continue;
                }

                return null;
            }

            if ($frame === false && $this->resume()) {
                $this->asked = true;

                continue;
            }

            if ($frame === false && $this->pop->job !== null) {
                // No runtime is left to decide about the popped job, whose attempt is already counted: run it, then
                // quit.
                $this->worker->shouldQuit = true;

                return $this->begin($this->pop->take());
            }

            [$kind, $order, $body] = $frame ?: [Wire::STOP, [], ''];

            switch ($kind) {
                case Wire::JOB:
                    // A job sent ahead whose ticket this lane does not hold has been recalled.
                    if (($order['ticket'] ?? null) !== $ticket) {
                        break;
                    }

                    $this->asked = false;
                    $ticket = null;

                    if ($job = $this->take($order, $body)) {
                        return $job;
                    }

                    $this->asked = $this->report(Wire::READY, ['done' => $this->done()]);
                    break;

                case Wire::POP:
                    $this->asked = false;

                    if (! $this->pop->look($this->worker->getManager()->connection($this->boot->connection()), $pop, $queues, $order['queues'] ?? [])) {
                        $this->asked = $this->report(Wire::READY, []);

                        // Returns so that the listeners of Laravel's loop are called.
                        return null;
                    }

                    $this->report(Wire::POPPED, $this->pop->found());
                    break;

                case Wire::CHECK:
                    $names = $order['queues'] ?? [];
                    $state = $this->signals->read($names);
                    $sizes = $this->pop->sizes(fn () => $this->worker->getManager()->connection($this->boot->connection()), $names);
                    $this->wire->send(Wire::STATE, $state + ($sizes === [] ? [] : ['sizes' => $sizes]));
                    break;

                case Wire::INSPECT:
                    $found = (new Inspector($this->boot->app))->now($order['classes'] ?? [], $order['properties'] ?? true);
                    $this->wire->send(Wire::HINTS, Inspector::frame($found));
                    break;

                case Wire::STOP:
                    // A restart goes through Laravel's own check, so that listeners get the right reason.
                    if (($order['reason'] ?? '') === 'restart' && RestartSignal::$installed) {
                        RestartSignal::$raised = true;
                    } else {
                        $this->worker->shouldQuit = true;
                    }

                    if (($ticket !== null || $this->pop->job !== null) && $frame !== false) {
                        break;
                    }

                    return null;
            }
        }
    }

    /** Claims a job that was sent ahead: its id, or null if there is none. */
    private function ticket(): ?int
    {
        $ticket = $this->tickets === null ? '' : (string) @fread($this->tickets, 8);

        return strlen($ticket) === 8 ? unpack('J', $ticket)[1] : null;
    }

    /**
     * Laravel has deleted a job that the runtime is to remove. Sends DELETED at once, unless this is the last step of
     * the job and no listener of the app runs before the next frame: then that frame carries it (`ack`).
     */
    private function deleted(RuntimeJob $job, bool $last): bool
    {
        if (! $this->wire->isOurs()) {
            return true;
        }

        if (! $last || $this->events->hasListeners(JobProcessed::class) || $this->events->hasListeners('Illuminate\Queue\Events\JobAttempted')) {
            return $this->wire->send(Wire::DELETED, $job->hasFailed() ? ['failed' => true] : []);
        }

        $this->finished = $job;

        return true;
    }

    /**
     * Sends a frame about the last job. If the runtime is gone, a job that it was to remove is removed here.
     *
     * @param array<string, mixed> $header
     */
    private function report(int $kind, array $header): bool
    {
        $sent = $this->wire->send($kind, $header) || ($this->redialled() && $this->wire->send($kind, $header));

        if (! $sent && $this->finished !== null) {
            $this->finished->remove();
        }

        $this->finished = null;

        return $sent;
    }

    /** Connects to the next runtime after the current one is gone; false if there is none. */
    private function redialled(): bool
    {
        // An isolated process that has not received its job has no result to report.
        if ($this->redial === null || ($this->last === null && $this->mode === 'isolated')) {
            return false;
        }

        $wire = ($this->redial)($this->last ?? 0);
        $this->wire = $wire ?? $this->wire;

        return $wire !== null;
    }

    /** Resumes with the next runtime, which may not have received the result of the last job. */
    private function resume(): bool
    {
        [$kind, $ready] = match (true) {
            $this->pop->job !== null => [Wire::POPPED, $this->pop->found()],
            $this->outcome !== [] => [Wire::READY, ['done' => $this->outcome]],
            default => [Wire::READY, []],
        };

        $this->pop->job === null || $this->patience->owes();

        for ($this->patience->lost(); $this->patience->tries() && $this->redialled();) {
            if ($this->wire->send($kind, $ready)) {
                $this->patience->resumed();

                return true;
            }
        }

        return false;
    }

    /** Waits until the runtime has recorded the result of an isolated process's job. */
    private function part(): void
    {
        if ($this->mode !== 'isolated' || $this->redial === null) {
            return;
        }

        for ($until = microtime(true) + self::FAREWELL; $this->outcome !== [] && microtime(true) < $until;) {
            $frame = $this->wire->receive(1.0);

            if (is_array($frame)) {
                return;
            }

            if ($frame === false && ! ($this->redialled() && $this->wire->send(Wire::STOPPING, ['status' => 0, 'done' => $this->outcome]))) {
                return;
            }
        }
    }

    /** @param array<string, mixed> $order */
    private function take(array $order, string $body): ?Job
    {
        $this->last = $order['id'];
        $this->begin($this->pop->job !== null ? $this->pop->take() : $this->jobs->make($order, $body));
        $this->notify->begins($this->job, $order['watchdog'] ?? null);

        if (isset($order['receipt'])) {
            $this->wire->send(Wire::TAKEN);
        }

        if ($order['kind'] === 'run' && $this->signals->interrupts($this->job)) {
            $this->wire->send(Wire::INTERRUPTIBLE);
        }

        $this->limits->begin($order['timeout'] ?? null, $order['memory'] ?? null);
        $this->usage->begins(isset($order['ticket']));

        if ($order['kind'] !== 'run' && ! (new Replay($this->boot, $this->worker))->isForLaravel($this->job, $order)) {
            return null;
        }

        if ($this->mode === 'isolated') {
            Nested::quitAfter($this->job, $this->worker, $this->events);
        }

        return $this->job;
    }

    private function begin(Job $job): Job
    {
        $this->error = null;
        $this->toldOfFailure = false;
        $this->outcome = [];

        return $this->job = $job;
    }

    /** Why the last pop failed; reported once. @return array{fault?: string} */
    private function fault(): array
    {
        [$fault, $this->pop->fault] = [$this->pop->fault, null];

        return $fault === null ? [] : ['fault' => Output::text($fault)];
    }

    /** How the last job ended; null when there was none. @return array<string, mixed>|null */
    private function done(): ?array
    {
        if ($this->job === null) {
            return null;
        }

        $done = [
            'deleted' => $this->job->isDeleted(),
            'released' => $this->job->isReleased(),
            'failed' => $this->job->hasFailed(),
        ] + $this->usage->used();

        if ($this->finished !== null) {
            $done['ack'] = true;
        }

        if ($this->error !== null) {
            $done['error'] = Output::text($this->error);
        }

        $this->job = $this->error = null;
        $this->outcome = $done;
        $this->patience->owes();
        $this->notify->ended();
        $this->limits->end();

        return $done;
    }
}
