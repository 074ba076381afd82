<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Illuminate\Queue\DatabaseQueue;
use Illuminate\Queue\RedisQueue;
use RuntimeException;

/**
 * Selects unreserved jobs, waiting or delayed, by uuid, class or tag, and applies an operation to each.
 *
 * @property array{path: string, connection?: string|null, queues?: list<string>, uuids?: list<string>, class?: string|null, tag?: string|null, by: string, dry?: bool} $order
 */
abstract class PickedJobs extends Errand
{
    use Stores;

    /** Jobs read per call. */
    private const PAGE = 500;

    /** Passes over a queue at most: workers take jobs out of it meanwhile, so that a pass may skip some. */
    private const PASSES = 5;

    /** @var array<string, true> jobs found so far, by uuid or MD5 of the payload */
    private array $found = [];

    /** Processes one queue, by {@see eachOfRedis()}. */
    abstract protected function ofRedis(RedisQueue $queue, string $connection, string $key, string $name): void;

    abstract protected function ofDatabase(DatabaseQueue $queue, string $connection, string $name): void;

    protected function carryOut(): void
    {
        $connection = $this->boot->connection();
        $queue = $this->boot->app['queue']->connection($connection);

        foreach ($this->order['queues'] ?: [null] as $of) {
            $this->inPasses(fn () => match (true) {
                $queue instanceof RedisQueue => $this->ofRedis($queue, $connection, $this->key($queue, $of), $this->plain($queue, $of)),
                $queue instanceof DatabaseQueue => $this->ofDatabase($queue, $connection, $queue->getQueue($of)),
                default => throw new RuntimeException('jobs of '.get_class($queue).' cannot be selected: only Redis and database queues can be searched'),
            });
        }
    }

    private function inPasses(callable $pass): void
    {
        for ($passes = 0; $passes < self::PASSES; $passes++) {
            $before = $this->done;
            $pass();

            if ($this->isDry() || $this->done === $before) {
                return;
            }
        }
    }

    protected function isDry(): bool
    {
        return $this->order['dry'] ?? false;
    }

    /**
     * Applies $do to the selected payloads in a list, or in a sorted set of delayed jobs.
     *
     * @param null|callable(string): bool $do true if it has taken the payload from its place; null where nothing has to
     *     be done
     * @param bool $fromEnd the last one first
     */
    protected function eachOfRedis(RedisQueue $queue, string $key, bool $isSet, ?callable $do, bool $fromEnd = false): void
    {
        if ($do === null && $this->order['uuids'] === []) {
            return;
        }

        $redis = $queue->getConnection();
        $range = $isSet ? 'zrange' : 'lrange';

        for ($at = 0; ; $at += count($page) - $taken) {
            $last = $at + self::PAGE - 1;
            $page = $fromEnd ? $redis->{$range}($key, -1 - $last, -1 - $at) : $redis->{$range}($key, $at, $last);

            if ($page === [] || ! is_array($page)) {
                return;
            }

            $taken = 0;

            foreach ($fromEnd ? array_reverse($page) : $page as $payload) {
                $taken += (int) (is_string($payload) && $this->isDone($payload, $do === null ? null : static fn (): bool => $do($payload)));
            }
        }
    }

    /**
     * Applies $do to the selected rows that are not reserved.
     *
     * @param null|callable(object): bool $do true if it is done; null where nothing has to be done
     * @param null|callable(object): object $where adds conditions to the query
     */
    protected function eachOfDatabase(DatabaseQueue $queue, string $name, ?callable $do, ?callable $where = null, bool $fromEnd = false): void
    {
        if ($do === null && $this->order['uuids'] === []) {
            return;
        }

        $last = null;

        do {
            $rows = $this->rows($queue)->where('queue', $name)->whereNull('reserved_at')->orderBy('id', $fromEnd ? 'desc' : 'asc')->limit(self::PAGE);
            $last === null || $rows->where('id', $fromEnd ? '<' : '>', $last);
            $page = ($where === null ? $rows : $where($rows))->get();

            foreach ($page as $row) {
                $last = $row->id;
                $this->isDone($row->payload, $do === null ? null : static fn (): bool => $do($row));
            }
        } while ($page->isNotEmpty());
    }

    /** Applies $do to a job, if it is selected. True if it is done. */
    private function isDone(string $payload, ?callable $do): bool
    {
        if (! $this->isMeant($payload, $do !== null) || $do === null || $this->isDry() || ! $do()) {
            return false;
        }

        $this->done++;
        $this->progress();

        return true;
    }

    /** Whether a job is selected. Counts it and reports its uuid, the first time. */
    private function isMeant(string $payload, bool $counts): bool
    {
        $job = json_decode($payload, true);

        if (! is_array($job)) {
            return false;
        }

        $uuid = self::uuid($job);
        $name = (string) ($job['displayName'] ?? $job['data']['commandName'] ?? $job['job'] ?? '');
        [$uuids, $class, $tag] = [$this->order['uuids'] ?? [], $this->order['class'] ?? null, $this->order['tag'] ?? null];
        $class = $class === null ? null : ltrim($class, '\\');
        $isMeant = ($uuids === [] || in_array($uuid, $uuids, true))
            && ($class === null || $name === $class || str_ends_with($name, '\\'.$class))
            && ($tag === null || in_array($tag, (array) ($job['tags'] ?? []), true));
        $known = $uuid === '' ? md5($payload) : $uuid;

        if ($isMeant && ! isset($this->found[$known])) {
            $this->found[$known] = true;
            $this->matched += (int) $counts;
            $uuids === [] || $this->say(['uuid' => $uuid]);
        }

        return $isMeant;
    }

    /** @param array<mixed> $job a payload */
    protected static function uuid(array $job): string
    {
        $uuid = $job['uuid'] ?? $job['id'] ?? '';

        return is_scalar($uuid) ? (string) $uuid : '';
    }
}
