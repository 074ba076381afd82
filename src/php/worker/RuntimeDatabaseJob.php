<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Illuminate\Database\QueryException;
use Illuminate\Queue\Jobs\DatabaseJob;
use Illuminate\Queue\Jobs\Job;

/**
 * Retries deletes and releases. SQLite has one writer at a time, and Laravel reads before it writes: with several
 * workers, its own deletes and releases soon fail with "database is locked". On MySQL they may be the victim of a
 * deadlock.
 */
final class RuntimeDatabaseJob extends DatabaseJob implements RuntimeJob
{
    use HandledByRuntime;

    /** Matches errors that another transaction has caused. */
    private const IN_THE_WAY = '/database is locked|Deadlock found|deadlock detected|Lock wait timeout exceeded/';

    /** Seconds for which writes are retried. */
    private const PATIENCE = 10;

    public function remove(): void
    {
        $this->patiently(fn () => $this->database->deleteReserved($this->queue, $this->job->id));
    }

    public function release($delay = 0)
    {
        if ($this->isInTransaction()) {
            parent::release($delay);

            return;
        }

        Job::release($delay);
        $this->patiently(fn () => $this->database->deleteAndRelease($this->queue, $this, $delay));
    }

    private function isInTransaction(): bool
    {
        return $this->database->getDatabase()->transactionLevel() > 0;
    }

    /** Retries a write. Each try is a transaction of its own, so a failed one leaves nothing behind. */
    private function patiently(\Closure $write): void
    {
        for ($until = microtime(true) + self::PATIENCE; ; usleep(random_int(1_000, 20_000))) {
            try {
                $write();

                return;
            } catch (QueryException $e) {
                if (! preg_match(self::IN_THE_WAY, $e->getMessage()) || microtime(true) > $until) {
                    throw $e;
                }
            }
        }
    }
}
