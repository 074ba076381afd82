<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Closure;
use Illuminate\Queue\Events\JobRetryRequested;
use Illuminate\Support\Carbon;
use Illuminate\Support\ConfigurationUrlParser;
use RuntimeException;
use Throwable;

/**
 * Lists, retries or forgets failed jobs for `kqueue failed`, through the app's own provider of failed jobs.
 *
 * Retries go through Laravel's command: `retryUntil` is recomputed, attempts are reset, and listeners are called.
 *
 * @property array{path: string, act: string, ids?: list<string>, class?: string|null, match?: string|null, queue?: string|null, since?: int|null, limit?: int, dry?: bool} $order
 */
final class FailedJobs extends Errand
{
    /** Bytes of an exception that a list shows. */
    private const LINE = 500;

    /** The app's own provider of failed jobs. */
    private object $failer;

    /** The record of the job that is being retried, until it is in its queue. */
    private ?object $out = null;

    private Transit $transit;

    protected function carryOut(): void
    {
        $this->failer = $this->boot->app['queue.failer'];
        $this->transit = new Transit($this->boot->app->storagePath().'/framework/kqueue-retry-'.$this->place());
        $this->recover();
        $this->boot->app->instance('queue.failer', $this->failerOfCommand());
        $this->boot->app['events']->listen(JobRetryRequested::class, fn (JobRetryRequested $event) => $this->takeOut($event->job));
        $this->act($this->order['act']);
    }

    /** Identifies the failed jobs: one release of the app may be run with several databases. */
    private function place(): string
    {
        $config = $this->boot->app['config'];
        $failed = $config->get('queue.failed');
        $database = (new ConfigurationUrlParser)->parseConfiguration($config->get('database.connections.'.($failed['database'] ?? '')) ?? []);
        // Without what changes between two starts, such as a password.
        $facts = array_map(
            static fn (string $name): mixed => $failed[$name] ?? $database[$name] ?? null,
            ['driver', 'table', 'path', 'host', 'port', 'unix_socket', 'database', 'prefix', 'schema', 'region', 'endpoint'],
        );

        return substr(sha1((string) json_encode([$facts, $database['database'] ?? null])), 0, 12);
    }

    private function act(string $act): void
    {
        $batch = [];

        foreach ($this->matching() as $job) {
            $this->matched++;

            if ($act === 'retry' && ! ($this->order['dry'] ?? false)) {
                $batch[] = $job->id;

                if (count($batch) === self::AT_ONCE) {
                    $this->retry($batch);
                    $batch = [];
                }
            } elseif ($act === 'forget' && ! ($this->order['dry'] ?? false)) {
                $this->done += (int) (bool) $this->failer->forget($job->id);
                $this->progress();
            } elseif ($this->matched <= ($this->order['limit'] ?? 0)) {
                $this->say(['job' => $this->describe($job, $act === 'show')]);
            }
        }

        $batch === [] || $this->retry($batch);
    }

    /** @param list<int|string> $ids */
    private function retry(array $ids): void
    {
        try {
            $this->boot->kernel->call('queue:retry', ['id' => array_map('strval', $ids)]);
        } catch (Throwable $error) {
            $this->keep();

            throw new RuntimeException("{$this->done} retried before this error: ".$error->getMessage(), 0, $error);
        }

        $this->say(['progress' => $this->done]);
    }

    /**
     * Laravel queues a job and removes its record afterwards: if the job has failed again by then, its new record would
     * be removed too, or could not be written. So the record is removed first, and restored if queueing fails, or by
     * the next errand if this process dies.
     */
    private function takeOut(object $job): void
    {
        $this->transit->keep($job);
        // If this throws, it is not known whether the record is still there: the next errand sees.
        $this->failer->forget($job->id);
        $this->out = $job;
        $this->done++;
    }

    /** Restores the record of a job that could not be queued. */
    private function keep(): void
    {
        if ($this->out !== null) {
            $this->done--;
            $this->restore($this->out);
            $this->transit->clear();
        }
    }

    /**
     * Restores the records that an errand has left behind. Whether the job is in its queue is not known; as with
     * Laravel's own command in that case, it has a record too.
     */
    private function recover(): void
    {
        $this->transit->recover(function (object $job): void {
            $this->failer->find($job->id) === null && $this->restore($job);
        });
    }

    private function restore(object $job): void
    {
        $exception = new class($job->exception) {
            public function __construct(private string $text)
            {
            }

            public function __toString(): string
            {
                return $this->text;
            }
        };
        $this->failer->log($job->connection, $job->queue, $job->payload, $exception);
    }

    /** @return iterable<object> the failed jobs that are selected, the latest first */
    private function matching(): iterable
    {
        foreach ($this->candidates() as $job) {
            if ($job !== null && $this->matches($job)) {
                yield $job;
            }
        }
    }

    /** @return iterable<object|null> */
    private function candidates(): iterable
    {
        $failer = $this->failer;

        if (($this->order['ids'] ?? []) !== []) {
            $ids = $this->order['ids'];
        } elseif (method_exists($failer, 'ids')) {
            // One by one: all payloads and traces together may not fit into memory.
            $ids = $failer->ids($this->order['queue'] ?? null);
        } else {
            return yield from $failer->all();
        }

        foreach ($ids as $id) {
            $job = $failer->find($id);
            // A provider that is keyed by uuid may set no id.
            $job === null || $job->id ??= $id;
            yield $job;
        }
    }

    private function matches(object $job): bool
    {
        [$class, $match, $queue, $since] = [$this->order['class'] ?? null, $this->order['match'] ?? null, $this->order['queue'] ?? null, $this->order['since'] ?? null];
        $name = $this->name($job);

        return ($class === null || strcasecmp($name, $class) === 0 || str_ends_with(strtolower($name), '\\'.strtolower($class)))
            && ($match === null || stripos($job->exception.' '.$job->payload, $match) !== false)
            && ($queue === null || $job->queue === $queue)
            && ($since === null || $this->time($job) >= $since);
    }

    private function name(object $job): string
    {
        $payload = json_decode($job->payload, true);

        return (string) ($payload['displayName'] ?? $payload['data']['commandName'] ?? $payload['job'] ?? '');
    }

    private function time(object $job): int
    {
        return Carbon::parse($job->failed_at)->getTimestamp();
    }

    /** @return array<string, mixed> */
    private function describe(object $job, bool $whole): array
    {
        $payload = json_decode($job->payload, true);

        return [
            'id' => (string) $job->id,
            'uuid' => (string) ($payload['uuid'] ?? ''),
            'class' => $this->name($job),
            'connection' => (string) $job->connection,
            'queue' => (string) $job->queue,
            'failed_at' => $this->time($job),
            'exception' => $whole ? (string) $job->exception : substr((string) strtok((string) $job->exception, "\n"), 0, self::LINE),
        ] + ($whole ? ['payload' => $job->payload] : []);
    }

    /**
     * The provider for Laravel's command, whose `forget()` comes once the job is queued: the record is gone already.
     */
    private function failerOfCommand(): object
    {
        return new class($this->failer, function (): void {
            $this->out = null;
            $this->transit->clear();
        }) {
            public function __construct(private object $failer, private Closure $isIn)
            {
            }

            public function forget(mixed $id): bool
            {
                ($this->isIn)();

                return true;
            }

            /** @param list<mixed> $arguments */
            public function __call(string $name, array $arguments): mixed
            {
                return $this->failer->{$name}(...$arguments);
            }
        };
    }
}
