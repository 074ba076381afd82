<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Illuminate\Queue\DatabaseQueue;
use Illuminate\Queue\RedisQueue;

/** Where Laravel keeps the jobs of a queue. */
trait Stores
{
    protected function plain(RedisQueue $queue, ?string $of): string
    {
        return (fn (): string => $of ?? $this->default)->call($queue);
    }

    /** The key of the list of waiting jobs; the names of the other keys begin with it. */
    protected function key(RedisQueue $queue, ?string $of): string
    {
        return (new RedisDriver)->name($queue, $this->plain($queue, $of));
    }

    /** The jobs table, read through the write connection. */
    protected function rows(DatabaseQueue $queue): object
    {
        return $queue->getDatabase()->table((fn (): string => $this->table)->call($queue))->useWritePdo();
    }
}
