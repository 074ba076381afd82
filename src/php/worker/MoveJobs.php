<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Illuminate\Queue\DatabaseQueue;
use Illuminate\Queue\RedisQueue;
use RuntimeException;
use Throwable;

/**
 * Moves unreserved jobs for `kqueue move`: to the front of their queue (`how` is `front`), into another queue (`to`),
 * or, delayed ones, to now (`now`). Each is moved atomically, unless it has been taken meanwhile.
 */
final class MoveJobs extends PickedJobs
{
    /** Moves one payload. Returns 1, or 0 if it was not there. */
    private const MOVE = <<<'LUA'
        -- A script does not roll back: a key of the wrong type raises before anything is moved.
        for i, size in ipairs({'llen', 'zcard', 'llen', 'llen', 'zcard', 'llen'}) do redis.call(size, KEYS[i]) end
        local list, delayed, notify, job, how = KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2]
        local due = redis.call('zscore', delayed, job)
        if how == 'front' then
            if redis.call('lrem', list, -1, job) == 0 then return 0 end
            redis.call('lpush', list, job)
        elseif how == 'now' then
            if redis.call('zrem', delayed, job) == 0 then return 0 end
            redis.call('rpush', list, job)
            redis.call('rpush', notify, 1)
        elseif due then
            redis.call('zrem', delayed, job)
            redis.call('zadd', KEYS[5], due, job)
        else
            if redis.call('lrem', list, 1, job) == 0 then return 0 end
            redis.call('lpop', notify)
            redis.call('rpush', KEYS[4], job)
            redis.call('rpush', KEYS[6], 1)
        end
        return 1
        LUA;

    /** Ids read per query in search of a free one. */
    private const IDS = 500;

    /** @var array<string, true> jobs moved to the front so far, by MD5 of the payload or id of the row */
    private array $inFront = [];

    /** The id of the row that is currently the first. */
    private ?int $first = null;

    protected function carryOut(): void
    {
        $to = $this->order['to'] ?? null;

        // The target queue is searched, too: a job may be there already.
        if ($to !== null && ! in_array($to, $this->order['queues'], true)) {
            $this->order['queues'] = [...($this->order['queues'] ?: [null]), $to];
        }

        parent::carryOut();
    }

    protected function ofRedis(RedisQueue $queue, string $connection, string $key, string $name): void
    {
        $how = $this->order['how'];
        $to = $how === 'to' ? $this->key($queue, $this->order['to']) : $key;
        $keys = [$key, "{$key}:delayed", "{$key}:notify", $to, "{$to}:delayed", "{$to}:notify"];
        $move = fn (string $payload): bool => ! isset($this->inFront[md5($payload)]) && $this->byScript($queue, $keys, $payload) && $this->isMoved(md5($payload), $payload);
        $move = $how === 'to' && $to === $key ? null : $move;
        $this->eachOfRedis($queue, $key, false, $how === 'now' ? null : $move, $how === 'front');
        $how === 'front' || $this->eachOfRedis($queue, "{$key}:delayed", true, $move);
    }

    /** @param list<string> $keys */
    private function byScript(RedisQueue $queue, array $keys, string $payload): bool
    {
        try {
            return $queue->getConnection()->eval(self::MOVE, count($keys), ...[...$keys, $payload, $this->order['how']]) === 1;
        } catch (Throwable $error) {
            if (stripos($error->getMessage(), 'slot') === false) {
                throw $error;
            }

            throw new RuntimeException('the two queues are in different slots of the cluster: jobs cannot be moved between them atomically', 0, $error);
        }
    }

    protected function ofDatabase(DatabaseQueue $queue, string $connection, string $name): void
    {
        $now = time();
        $free = fn (object $row): object => $this->rows($queue)->where('id', $row->id)->where('queue', $name)->whereNull('reserved_at');
        $due = static fn (object $rows): object => $rows->where('available_at', '<=', $now);
        $later = static fn (object $rows): object => $rows->where('available_at', '>', $now);

        switch ($this->order['how']) {
            case 'to':
                $to = $queue->getQueue($this->order['to']);
                $this->eachOfDatabase($queue, $name, $to === $name ? null : static fn (object $row): bool => $free($row)->update(['queue' => $to]) === 1);
                break;
            case 'now':
                $this->eachOfDatabase($queue, $name, null, $due);
                $this->eachOfDatabase($queue, $name, static fn (object $row): bool => $later($free($row))->update(['available_at' => $now]) === 1, $later);
                break;
            default:
                $this->first = $due($this->rows($queue)->where('queue', $name)->whereNull('reserved_at'))->min('id');
                $this->eachOfDatabase($queue, $name, fn (object $row): bool => $this->toFront($queue, $free, $row), $due, true);
        }
    }

    /** Rows are ordered by id: gives the row the next free id before the first one's. */
    private function toFront(DatabaseQueue $queue, callable $free, object $row): bool
    {
        if (isset($this->inFront[$row->id])) {
            return false;
        }

        if ((int) $row->id !== $this->first) {
            $id = $this->freeBefore($queue, (int) $this->first);

            if ($free($row)->update(['id' => $id]) !== 1) {
                return false;
            }

            [$row->id, $this->first] = [$id, $id];
        }

        return $this->isMoved((string) $row->id, $row->payload);
    }

    private function freeBefore(DatabaseQueue $queue, int $id): int
    {
        do {
            $taken = $this->rows($queue)->where('id', '<', $id)->orderByDesc('id')->limit(self::IDS)->pluck('id')->all();

            foreach ($taken as $next) {
                if ((int) $next < $id - 1) {
                    break 2;
                }

                $id = (int) $next;
            }
        } while ($taken !== []);

        if ($id <= 1 && in_array($queue->getDatabase()->getDriverName(), ['mysql', 'mariadb'], true)) {
            throw new RuntimeException('no id below that of the first job of the queue is free: jobs in a database are ordered by id');
        }

        return $id - 1;
    }

    private function isMoved(string $job, string $payload): bool
    {
        if ($this->order['how'] === 'front') {
            $this->inFront[$job] = true;
            // Jobs that a runtime has already reserved go first, unless it is told of this one.
            $this->say(['done' => self::uuid((array) json_decode($payload, true))]);
        }

        return true;
    }
}
