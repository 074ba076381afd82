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

/**
 * Cancels unreserved jobs, waiting or delayed, for `kqueue cancel`: reserves them one by one as a worker would, then
 * fails or deletes them with Laravel's own classes. If this process dies meanwhile, a job that it has reserved comes
 * back after `retry_after`, as with any worker.
 */
final class CancelJobs extends PickedJobs
{
    /** Takes one payload out of the queue or the delayed set, and reserves it as Laravel's own script does. */
    private const TAKE = <<<'LUA'
        local readable, job = pcall(cjson.decode, ARGV[1])
        if not readable or type(job) ~= 'table' then return false end
        if redis.call('lrem', KEYS[1], 1, ARGV[1]) == 0 and redis.call('zrem', KEYS[2], ARGV[1]) == 0 then return false end
        job['attempts'] = (tonumber(job['attempts']) or 0) + 1
        local reserved = cjson.encode(job)
        redis.call('zadd', KEYS[3], ARGV[2], reserved)
        return reserved
        LUA;

    protected function carryOut(): void
    {
        $app = $this->boot->app;
        $app['events']->listen(JobFailed::class, static function (JobFailed $event) use ($app): void {
            $app['queue.failer']->log($event->connectionName, $event->job->getQueue(), $event->job->getRawBody(), $event->exception);
        });
        parent::carryOut();
    }

    protected function ofRedis(RedisQueue $queue, string $connection, string $key, string $name): void
    {
        $lease = (int) ((fn () => $this->retryAfter)->call($queue) ?? 60);
        $cancel = function (string $payload) use ($queue, $connection, $key, $name, $lease): bool {
            $reserved = $queue->getConnection()->eval(self::TAKE, 3, $key, "{$key}:delayed", "{$key}:reserved", $payload, time() + $lease);

            return is_string($reserved) && $this->settle(new RedisJob($this->boot->app, $queue, $payload, $reserved, $connection, $name));
        };
        $this->eachOfRedis($queue, $key, false, $cancel);
        $this->eachOfRedis($queue, "{$key}:delayed", true, $cancel);
    }

    protected function ofDatabase(DatabaseQueue $queue, string $connection, string $name): void
    {
        $this->eachOfDatabase($queue, $name, function (object $row) use ($queue, $connection, $name): bool {
            $now = time();

            // Unless the row has been taken meanwhile.
            if ($this->rows($queue)->where('id', $row->id)->whereNull('reserved_at')->update(['reserved_at' => $now, 'attempts' => $row->attempts + 1]) !== 1) {
                return false;
            }

            $row->reserved_at = $now;
            $row->attempts++;

            return $this->settle(new DatabaseJob($this->boot->app, $queue, new DatabaseJobRecord($row), $connection, $name));
        });
    }

    /** Fails or deletes a job that this process has reserved. */
    private function settle(Job $job): bool
    {
        Cancelled::settleAndReport($this->boot->app, $job, "cancelled by {$this->order['by']}", $this->order['delete'] ?? false, true);

        return true;
    }
}
