<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Illuminate\Queue\Jobs\RedisJob;

final class RuntimeRedisJob extends RedisJob implements RuntimeJob
{
    use HandledByRuntime;

    /** Decoded once: Laravel reads it a dozen times per job, and it does not change. */
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
