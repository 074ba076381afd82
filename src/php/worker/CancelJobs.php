<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Illuminate\Queue\DatabaseQueue;
use Illuminate\Queue\Events\JobFailed;
use Illuminate\Queue\Jobs\DatabaseJob;
use Illuminate\Queue\Jobs\DatabaseJobRecord;
use Illuminate\Queue\Jobs\Job;
use Illuminate\Queue\Jobs\RedisJob;
use Illuminate\Queue\RedisQueue;
use RuntimeException;

/**
 * What `kqueue cancel` asks of an app: jobs that nobody has reserved, waiting or delayed, are reserved one by one, as a worker
 * would, and then failed or deleted by Laravel's own classes. If this process dies on the way, a job that it has reserved
 * comes back after `retry_after`, like that of any worker.
 *
 * @property array{path: string, connection?: string|null, queues?: list<string>, uuids?: list<string>, class?: string|null, tag?: string|null, by: string, delete?: bool, dry?: bool} $order
 */
final class CancelJobs extends Errand
{
    /** Jobs that are looked at with one call. */
    private const PAGE = 500;

    /** Times that a queue is looked through: while it is, others take jobs out of it, and those behind move up. */
    private const PASSES = 5;

    /** Takes one payload out of the queue or out of what is delayed, and reserves it as Laravel's own script does. */
    private const TAKE = <<<'LUA'
        local readable, job = pcall(cjson.decode, ARGV[1])
        if not readable or type(job) ~= 'table' then return false end
        if redis.call('lrem', KEYS[1], 1, ARGV[1]) == 0 and redis.call('zrem', KEYS[2], ARGV[1]) == 0 then return false end
        job['attempts'] = (tonumber(job['attempts']) or 0) + 1
        local reserved = cjson.encode(job)
        redis.call('zadd', KEYS[3], ARGV[2], reserved)
        return reserved
        LUA;

    /** @var array<string, true> uuids of jobs that were found */
    private array $found = [];

    protected function carryOut(): void
    {
        $app = $this->boot->app;
        $app['events']->listen(JobFailed::class, static function (JobFailed $event) use ($app): void {
            $app['queue.failer']->log($event->connectionName, $event->job->getQueue(), $event->job->getRawBody(), $event->exception);
        });
        $name = $this->boot->connection();
        $queue = $app['queue']->connection($name);

        foreach ($this->order['queues'] ?: [null] as $of) {
            $this->cancel($queue, $name, $of);
        }
    }

    private function cancel(object $queue, string $name, ?string $of): void
    {
        $dry = $this->order['dry'] ?? false;

        for ($pass = 0; $pass < ($dry ? 1 : self::PASSES); $pass++) {
            $before = $this->done;

            $jobs = match (true) {
                $queue instanceof RedisQueue => $this->ofRedis($queue, $name, $of, $dry),
                $queue instanceof DatabaseQueue => $this->ofDatabase($queue, $name, $of, $dry),
                default => throw new RuntimeException('jobs in a queue of '.get_class($queue).' cannot be picked out by name'),
            };

            foreach ($jobs as $job) {
                Cancelled::settleAndReport($this->boot->app, $job, "cancelled by {$this->order['by']}", $this->order['delete'] ?? false, true);
                $this->done++;
                $this->progress();
            }

            if ($this->done === $before) {
                return;
            }
        }
    }

    /** @return iterable<Job> each reserved for us */
    private function ofRedis(RedisQueue $queue, string $name, ?string $of, bool $dry): iterable
    {
        $plain = (fn (): string => $of ?? $this->default)->call($queue);
        $key = (new RedisDriver)->name($queue, $plain);
        $redis = $queue->getConnection();
        $lease = (int) ((fn () => $this->retryAfter)->call($queue) ?? 60);

        foreach (['lrange' => $key, 'zrange' => "{$key}:delayed"] as $list => $from) {
            for ($at = 0; ($page = $redis->{$list}($from, $at, $at + self::PAGE - 1)) !== [] && is_array($page); $at += count($page) - $taken) {
                $taken = 0;

                foreach ($page as $payload) {
                    if (! is_string($payload) || ! $this->isMeant($payload) || $dry) {
                        continue;
                    }

                    $reserved = $redis->eval(self::TAKE, 3, $key, "{$key}:delayed", "{$key}:reserved", $payload, time() + $lease);

                    if (is_string($reserved)) {
                        $taken++;
                        yield new RedisJob($this->boot->app, $queue, $payload, $reserved, $name, $plain);
                    }
                }
            }
        }
    }

    /** @return iterable<Job> each reserved for us */
    private function ofDatabase(DatabaseQueue $queue, string $name, ?string $of, bool $dry): iterable
    {
        $of = $queue->getQueue($of);
        $table = (fn (): string => $this->table)->call($queue);
        $rows = static fn () => $queue->getDatabase()->table($table)->useWritePdo();
        $last = 0;

        while (($page = $rows()->where('queue', $of)->whereNull('reserved_at')->where('id', '>', $last)->orderBy('id')->limit(self::PAGE)->get())->isNotEmpty()) {
            foreach ($page as $row) {
                $last = $row->id;

                if (! $this->isMeant($row->payload) || $dry) {
                    continue;
                }

                $now = time();

                // Nobody else has taken it meanwhile.
                if ($rows()->where('id', $row->id)->whereNull('reserved_at')->update(['reserved_at' => $now, 'attempts' => $row->attempts + 1]) === 1) {
                    $row->reserved_at = $now;
                    $row->attempts++;
                    yield new DatabaseJob($this->boot->app, $queue, new DatabaseJobRecord($row), $name, $of);
                }
            }
        }
    }

    private function isMeant(string $payload): bool
    {
        $job = json_decode($payload, true);

        if (! is_array($job)) {
            return false;
        }

        $uuid = (string) ($job['uuid'] ?? $job['id'] ?? '');
        $name = (string) ($job['displayName'] ?? $job['data']['commandName'] ?? $job['job'] ?? '');
        [$uuids, $class, $tag] = [$this->order['uuids'] ?? [], $this->order['class'] ?? null, $this->order['tag'] ?? null];
        $class = $class === null ? null : ltrim($class, '\\');
        $isMeant = ($uuids === [] || in_array($uuid, $uuids, true))
            && ($class === null || $name === $class || str_ends_with($name, '\\'.$class))
            && ($tag === null || in_array($tag, (array) ($job['tags'] ?? []), true));

        if ($isMeant && ! isset($this->found[$uuid])) {
            $this->found[$uuid] = true;
            $this->matched++;
            $uuids === [] || $this->say(['uuid' => $uuid]);
        }

        return $isMeant;
    }
}
