<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Illuminate\Queue\Jobs\RedisJob;

final class RuntimeRedisJob extends RedisJob implements RuntimeJob
{
    use HandledByRuntime;

    /** Decoded once: Laravel asks for it a dozen times in the life of a job, and the message does not change. */
    public function payload()
    {
        return $this->decoded ?? parent::payload();
    }

    public function remove(): void
    {
        $this->redis->deleteReserved($this->queue, $this);
    }

    private function isInTransaction(): bool
    {
        return false;
    }
}
