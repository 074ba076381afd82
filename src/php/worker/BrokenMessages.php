<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Illuminate\Queue\DatabaseQueue;
use Illuminate\Queue\RedisQueue;
use RuntimeException;

/**
 * Lists, shows, requeues (as they are or repaired) or drops messages for `kqueue broken`: those that Laravel could not
 * run, and that were set aside on `NAME:broken`. Each is requeued or dropped atomically.
 *
 * @property array{path: string, connection?: string|null, act: string, queues?: list<string>, ids?: list<string>, limit?: int, dry?: bool, with?: string|null} $order
 */
final class BrokenMessages extends Errand
{
    use Stores;

    /** Messages read per call. */
    private const PAGE = 20;

    /** Bytes read of a message. */
    private const CUT = 1 << 20;

    /** Characters of a message's id in Redis, the beginning of its SHA-1. */
    private const NAME = 12;

    /** SHA-1, size in bytes and beginning of each message, from index ARGV[1] on. */
    private const LIST = <<<'LUA'
        local found = {}
        for at = tonumber(ARGV[1]), tonumber(ARGV[1]) + tonumber(ARGV[2]) - 1 do
            local message = redis.call('lindex', KEYS[1], at)
            if not message then break end
            found[#found + 1] = redis.sha1hex(message)
            found[#found + 1] = #message
            found[#found + 1] = string.sub(message, 1, tonumber(ARGV[3]))
        end
        return found
        LUA;

    /**
     * Removes the message at index ARGV[1] if its SHA-1 is ARGV[2], and requeues it or its repaired form. Returns 1 or
     * 0.
     */
    private const TAKE = <<<'LUA'
        -- A script does not roll back: a key of the wrong type raises before anything is moved.
        for i = 1, 3 do redis.call('llen', KEYS[i]) end
        local message = redis.call('lindex', KEYS[1], tonumber(ARGV[1]))
        if not message or redis.sha1hex(message) ~= ARGV[2] then return 0 end
        redis.call('lrem', KEYS[1], 1, message)
        if ARGV[3] == 'requeue' then
            redis.call('rpush', KEYS[2], ARGV[4] == '' and message or ARGV[4])
            redis.call('rpush', KEYS[3], 1)
        end
        return 1
        LUA;

    /** Number of messages that were requeued as they are and are still not valid jobs. */
    private int $still = 0;

    protected function carryOut(): void
    {
        $queue = $this->boot->app['queue']->connection($this->boot->connection());
        $with = $this->order['with'] ?? null;
        $why = $with === null ? null : self::why($with, strlen($with));

        if ($why !== null) {
            throw new RuntimeException("the replacement message is not a valid job: {$why}");
        }

        foreach ($this->order['queues'] ?: [null] as $of) {
            match (true) {
                $queue instanceof RedisQueue => $this->ofRedis($queue, $this->key($queue, $of), $this->plain($queue, $of)),
                $queue instanceof DatabaseQueue => $this->ofDatabase($queue, $queue->getQueue($of)),
                default => throw new RuntimeException('broken messages of '.get_class($queue).' cannot be accessed: kqueue sets them aside on Redis and database queues only'),
            };
        }

        $this->say(['still' => $this->still]);
    }

    private function ofRedis(RedisQueue $queue, string $key, string $name): void
    {
        $redis = $queue->getConnection();

        // Each removed message shifts the index of those behind it.
        for ($at = 0, $gone = 0; ; $at += count($page)) {
            $found = $redis->eval(self::LIST, 1, "{$key}:broken", $at - $gone, self::PAGE, self::CUT);
            $page = is_array($found) ? array_chunk($found, 3) : [];

            if ($page === []) {
                return;
            }

            foreach ($page as $place => [$hash, $bytes, $head]) {
                $gone += (int) $this->isDone(substr($hash, 0, self::NAME), $name, (int) $bytes, $head, null, fn (): bool => $redis->eval(
                    self::TAKE, 3, "{$key}:broken", $key, "{$key}:notify", $at - $gone + $place, $hash, $this->order['act'], $this->order['with'] ?? '',
                ) === 1);
            }
        }
    }

    private function ofDatabase(DatabaseQueue $queue, string $name): void
    {
        $rows = fn (): object => $this->rows($queue)->where('queue', "{$name}:broken")->whereNull('reserved_at');
        $last = null;

        do {
            $page = $rows()->when($last !== null, static fn (object $rows): object => $rows->where('id', '>', $last))
                ->orderBy('id')->limit(self::PAGE)->get(['id', 'created_at', $queue->getDatabase()->raw('LENGTH(payload) AS bytes')]);

            foreach ($page as $row) {
                $last = $row->id;
                $one = static fn (): object => $rows()->where('id', $row->id);
                $bytes = (int) $row->bytes;
                // SUBSTR counts characters, of which there may be fewer than bytes.
                $head = (string) ($bytes > self::CUT ? $one()->value($queue->getDatabase()->raw('SUBSTR(payload, 1, 1000)')) : $one()->value('payload'));
                $this->isDone((string) $row->id, $name, max($bytes, strlen($head)), $head, (int) $row->created_at, fn (): bool => match ($this->order['act']) {
                    'drop' => $one()->delete(),
                    default => $one()->update(['queue' => $name] + (isset($this->order['with']) ? ['payload' => $this->order['with']] : [])),
                } === 1);
            }
        } while ($page->isNotEmpty());
    }

    /** Applies the order to a message, if it is selected. True if `$take` has removed it from those set aside. */
    private function isDone(string $id, string $queue, int $bytes, string $head, ?int $queued, callable $take): bool
    {
        $ids = $this->order['ids'] ?? [];

        if ($ids !== [] && ! in_array($id, $ids, true)) {
            return false;
        }

        $this->matched++;
        $act = $this->order['act'];

        if (in_array($act, ['list', 'show'], true)) {
            $this->matched <= ($this->order['limit'] ?? 0) && $this->say(['message' => self::describe($id, $queue, $bytes, $head, $queued, $act === 'show')]);

            return false;
        }

        // A repaired form replaces one message, even if others have the same id.
        if (($this->order['dry'] ?? false) || isset($this->order['with']) && $this->done > 0 || ! $take()) {
            return false;
        }

        $this->done++;
        $this->progress();
        $this->still += (int) ($act === 'requeue' && ! isset($this->order['with']) && self::why($head, $bytes) !== null);

        return true;
    }

    /** @return array<string, mixed> */
    private static function describe(string $id, string $queue, int $bytes, string $head, ?int $queued, bool $whole): array
    {
        $job = json_decode($head, true);
        $job = is_array($job) ? $job : [];
        $text = static fn (mixed $value): ?string => is_scalar($value) ? (string) $value : null;
        $time = static fn (mixed $value): ?int => is_numeric($value) ? (int) $value : null;

        return [
            'id' => $id,
            'queue' => $queue,
            'bytes' => $bytes,
            'why' => self::why($head, $bytes),
            'queued' => $queued ?? $time($job['createdAt'] ?? $job['pushedAt'] ?? null),
            'uuid' => $text($job['uuid'] ?? $job['id'] ?? null),
            'class' => $text($job['displayName'] ?? $job['job'] ?? null),
        ] + ($whole ? [
            'text' => $head,
            'cut' => strlen($head) < $bytes,
            // What is shown has no other characters.
            'altered' => preg_match('/[^\P{C}\n\t\x{200C}\x{200D}]|[\x{2028}\x{2029}]/u', $head) !== 0,
        ] : []);
    }

    /** Why a message is not a valid job; null if it seems to be one. */
    private static function why(string $message, int $bytes): ?string
    {
        if (strlen($message) < $bytes) {
            return "it has {$bytes} bytes, too many to check";
        }

        $job = json_decode($message, true);

        if (! is_array($job) && json_last_error() !== JSON_ERROR_NONE) {
            return 'it is not JSON: '.json_last_error_msg();
        }

        if (! is_array($job) || ! is_string($job['job'] ?? null)) {
            return 'it is not a JSON object with a string `job`';
        }

        [$timeout, $attempts] = [$job['timeout'] ?? null, $job['attempts'] ?? null];
        $isText = static fn (mixed $value): bool => is_string($value) && ! is_numeric(trim($value));

        return match (true) {
            is_array($timeout), is_numeric($timeout) && $timeout >= 2 ** 63, $isText($timeout) && $timeout >= '0' => 'its `timeout` is not a valid number',
            is_array($attempts), $isText($attempts) => 'its `attempts` is not a number',
            default => null,
        };
    }
}
