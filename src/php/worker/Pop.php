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
 * Native pop: pops a job as `queue:work` does, through the app's own connection, when the runtime requests it.
 */
final class Pop
{
    /** Bytes of the largest payload that is sent to the runtime as it is. */
    private const LARGEST = 131_072;

    /** Seconds from one count of the queues to the next. */
    private const COUNT = 5.0;

    /** Seconds for which a driver may block in a pop: the process cannot receive STOP meanwhile. */
    private const WAIT = 1;

    /** The popped job, which waits for the runtime's JOB frame. */
    public ?Job $job = null;

    /** Why the last pop failed, until that is reported to the runtime. */
    public ?Throwable $fault = null;

    private string $queue = '';

    /** When the queues were last counted, in seconds since 1970; null before the first POP. */
    private ?float $counted = null;

    /**
     * Pops from the open queues, in order. True if there was a job. An error is also kept in $fault.
     *
     * @param \Closure $pop Laravel's callback
     * @param string $all the queues that are worked, separated by commas
     * @param list<string> $open those that may be popped from
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

    /** Hands over the popped job. */
    public function take(): Job
    {
        [$job, $this->job] = [$this->job, null];

        return $job;
    }

    /** @return array<string, mixed> the fields of POPPED for the popped job */
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
     * Sizes of the queues as Laravel counts them, which the runtime cannot; at most every COUNT seconds, else empty.
     * Queues that the driver cannot count are left out.
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
     * The payload as Laravel reads it, which may differ from the raw body. Above LARGEST, it is sent without the
     * serialised job, which is most of it; if it is still too large, it is empty.
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

    /** The result of a call to a job or queue of any class; null if it throws. */
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
     * Limits a blocking pop to WAIT seconds, since the process receives no frames meanwhile. A pop from beanstalkd
     * always blocks where only one queue is worked: that costs less than polling.
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
            // For Redis, 0 is without limit.
            $connection instanceof RedisQueue => $seconds !== null,
            default => is_numeric($seconds) && $seconds > self::WAIT,
        };

        if ($waits && $seconds !== self::WAIT) {
            $property->setValue($connection, self::WAIT);
        }
    }
}
