<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Illuminate\Queue\Events\JobRetryRequested;
use Illuminate\Support\Carbon;
use RuntimeException;
use Throwable;

/**
 * What `kqueue failed` asks of an app: its failed jobs, through its own provider of them, listed, retried or forgotten.
 *
 * Answers are lines of standard output that begin with MARK, a JSON object each; the last one has `end`. Retrying is
 * Laravel's own command: a job's `retryUntil` is worked out anew, its attempts are 0, and listeners are told.
 */
final class FailedJobs
{
    private const MARK = 'kqueue-errand ';

    /** Jobs that one call of Laravel's command retries. */
    private const AT_ONCE = 50;

    /** Bytes of an exception that a list shows. */
    private const LINE = 500;

    private Boot $boot;

    private int $matched = 0;

    private int $done = 0;

    /** Retries that Laravel has begun. */
    private int $begun = 0;

    /**
     * @param array{path: string, act: string, ids?: list<string>, class?: string|null, match?: string|null, queue?: string|null, since?: int|null, limit?: int, dry?: bool} $order
     */
    public function __construct(private array $order)
    {
    }

    public function run(): int
    {
        // What the app prints is no part of the answer.
        ob_start(static fn (): string => '');

        try {
            $this->boot = new Boot($this->order);
            $this->boot->boot();
            $this->boot->app['events']->listen(JobRetryRequested::class, fn () => $this->begun++);
            $this->act($this->order['act']);
        } catch (Throwable $error) {
            $this->say(['error' => get_class($error).': '.$error->getMessage()]);

            return 1;
        }

        $this->say(['end' => true, 'matched' => $this->matched, 'done' => $this->done]);

        return 0;
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
                $this->done += (int) (bool) $this->failer()->forget($job->id);
                $this->done % self::AT_ONCE === 0 && $this->say(['progress' => $this->done]);
            } elseif ($this->matched <= ($this->order['limit'] ?? 0)) {
                $this->say(['job' => $this->describe($job, $act === 'show')]);
            }
        }

        $batch === [] || $this->retry($batch);
    }

    /** @param list<int|string> $ids */
    private function retry(array $ids): void
    {
        $before = $this->begun;

        try {
            $this->boot->kernel->call('queue:retry', ['id' => array_map('strval', $ids)]);
        } catch (Throwable $error) {
            // The one that could not be put into its queue is where it was, as are those behind it.
            $this->done += max(0, $this->begun - $before - 1);

            throw new RuntimeException("{$this->done} were retried, then: ".$error->getMessage(), 0, $error);
        }

        // Not by what is left in the record: a job may have failed again by now.
        $this->done += $this->begun - $before;
        $this->say(['progress' => $this->done]);
    }

    /** @return iterable<object> the failed jobs that are meant, the latest first */
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
        $failer = $this->failer();

        if (($this->order['ids'] ?? []) !== []) {
            $ids = $this->order['ids'];
        } elseif (method_exists($failer, 'ids')) {
            // One by one: all payloads and traces together may be more than there is memory.
            $ids = $failer->ids($this->order['queue'] ?? null);
        } else {
            return yield from $failer->all();
        }

        foreach ($ids as $id) {
            $job = $failer->find($id);
            // The provider by uuid says the uuid alone.
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

    private function failer(): object
    {
        return $this->boot->app['queue.failer'];
    }

    /** @param array<string, mixed> $line */
    private function say(array $line): void
    {
        $written = @fwrite(STDOUT, self::MARK.json_encode($line, JSON_INVALID_UTF8_SUBSTITUTE | JSON_UNESCAPED_SLASHES | JSON_THROW_ON_ERROR)."\n");
        // Nobody reads any more: whoever asked wants no more of it.
        $written === false && exit(1);
    }
}
