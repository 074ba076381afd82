<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Illuminate\Contracts\Queue\Job;
use Illuminate\Contracts\Queue\Queue;
use Illuminate\Queue\BeanstalkdQueue;
use Illuminate\Queue\RedisQueue;
use ReflectionClass;
use Throwable;

/**
 * Native pop: takes a job off the queue as `queue:work` does, through the app's own connection, when the runtime says so.
 */
final class Pop
{
    /** Bytes of the largest payload that the runtime is told as it is. */
    private const LARGEST = 131_072;

    /** Seconds from one count of the queues to the next. */
    private const COUNT = 5.0;

    /** Seconds for which a driver may wait for a job: for as long, nobody can tell the process to leave. */
    private const WAIT = 1;

    /** What has been found, and waits for the runtime's word. */
    public ?Job $job = null;

    /** Why the last look failed, until the runtime knows. */
    public ?Throwable $fault = null;

    private string $queue = '';

    /** When the queues were last counted; null as long as this process was not sent to look. */
    private ?float $counted = null;

    /**
     * Looks in the queues that are open, in their order.
     *
     * @param \Closure $pop Laravel's own
     * @param string $all the queues that are worked
     * @param list<string> $open
     */
    public function look(Queue $connection, \Closure $pop, string $all, array $open): bool
    {
        $all = explode(',', $all);
        self::limitWait($connection, count($all) === 1);
        $this->fault = null;
        $this->counted ??= 0.0;

        try {
            foreach ($all as $index => $queue) {
                if (in_array($queue, $open, true) && ($this->job = $pop($queue, $index)) !== null) {
                    $this->queue = $queue;

                    return true;
                }
            }
        } catch (Throwable $fault) {
            throw $this->fault = $fault;
        }

        return false;
    }

    /** Hands out what has been found. */
    public function take(): Job
    {
        [$job, $this->job] = [$this->job, null];

        return $job;
    }

    /** @return array<string, mixed> what the runtime is told of what has been found */
    public function found(): array
    {
        $body = (string) self::ask(fn () => $this->job->getRawBody());

        return [
            'queue' => $this->queue,
            'payload' => $this->payload($body),
            'bytes' => strlen($body),
            'id' => self::text(self::ask(fn () => $this->job->getJobId())),
            'attempts' => max(0, (int) self::ask(fn () => $this->job->attempts())) ?: null,
        ];
    }

    /**
     * What Laravel counts in each queue, now and then: nobody else can. Nothing of a queue that its driver cannot count.
     *
     * @param \Closure(): Queue $connection
     * @param list<string> $queues
     * @return array<string, array{int, int, int}> jobs that wait, are delayed, are reserved
     */
    public function sizes(\Closure $connection, array $queues): array
    {
        if ($this->counted === null || microtime(true) - $this->counted < self::COUNT) {
            return [];
        }

        $sizes = [];

        foreach ($queues as $queue) {
            $size = self::ask(static function () use ($connection, $queue): array {
                $connection = $connection();

                return method_exists($connection, 'pendingSize')
                    ? [$connection->pendingSize($queue), $connection->delayedSize($queue), $connection->reservedSize($queue)]
                    : [$connection->size($queue), 0, 0];
            });

            if ($size !== null) {
                $sizes[$queue] = array_map(static fn (mixed $jobs): int => max(0, (int) $jobs), $size);
            }
        }

        $this->counted = microtime(true);

        return $sizes;
    }

    /**
     * The payload as Laravel reads it, which may be another than what the driver carries. One that is large goes without
     * the serialised job, which is most of it; one that is large in another way does not go at all.
     */
    private function payload(string $body): string
    {
        if (strlen($body) <= self::LARGEST && isset($body[0]) && $body[0] === '{') {
            return $body;
        }

        $payload = self::ask(fn () => $this->job->payload());

        if (! is_array($payload)) {
            return '';
        }

        if (strlen($body) > self::LARGEST && is_array($payload['data'] ?? null)) {
            unset($payload['data']['command']);
        }

        $reduced = (string) json_encode($payload);

        return strlen($reduced) > self::LARGEST ? '' : $reduced;
    }

    /** What a job of whatever class says of itself, if it can. */
    private static function ask(\Closure $ask): mixed
    {
        try {
            return $ask();
        } catch (Throwable) {
            return null;
        }
    }

    private static function text(mixed $id): ?string
    {
        return is_scalar($id) && (string) $id !== '' ? substr((string) $id, 0, 256) : null;
    }

    /**
     * A driver that waits for a job hears nothing else meanwhile: it waits for a second at a time, and is asked again. One
     * queue of beanstalkd is waited for in any case: that costs less than to ask again and again.
     */
    private static function limitWait(Queue $connection, bool $only): void
    {
        for ($class = new ReflectionClass($connection); $class; $class = $class->getParentClass()) {
            if (! $class->hasProperty('blockFor')) {
                return;
            }

            $property = $class->getProperty('blockFor');

            if ($property->getDeclaringClass()->getName() === $class->getName() && ! $property->isStatic() && ! $property->isReadOnly()) {
                break;
            }
        }

        $seconds = $property->isInitialized($connection) ? $property->getValue($connection) : null;
        $waits = match (true) {
            $connection instanceof BeanstalkdQueue => $only || $seconds > 0,
            // Redis waits for ever when it is told 0.
            $connection instanceof RedisQueue => $seconds !== null,
            default => is_numeric($seconds) && $seconds > self::WAIT,
        };

        if ($waits && $seconds !== self::WAIT) {
            $property->setValue($connection, self::WAIT);
        }
    }
}
