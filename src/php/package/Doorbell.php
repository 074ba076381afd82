<?php

declare(strict_types=1);

namespace Kqueue;

use Illuminate\Contracts\Foundation\Application;
use Illuminate\Database\Connection;
use Illuminate\Queue\DatabaseQueue;
use Illuminate\Queue\NullQueue;
use Illuminate\Queue\RedisQueue;
use Illuminate\Queue\SyncQueue;
use Throwable;

/**
 * Wakes kqueue when a job was queued in a store that does not announce it: everywhere but in Redis. Best effort:
 * dispatching never waits for it and gets no error from it. Without it, kqueue finds the job by itself a moment later.
 */
final class Doorbell
{
    /** Limit of the bells that are rung when this app's own is not known among them. */
    private const NEIGHBOURS = 8;

    /** Seconds within which one NOTIFY is enough. */
    private const MOMENT = 0.005;

    private static float $notified = 0.0;

    /** @param string|list<string>|bool $where */
    private function __construct(private Application $app, private $where)
    {
    }

    public static function of(Application $app): self
    {
        return new self($app, $app['config']['kqueue.doorbell'] ?? true);
    }

    public function queued(?string $connection): void
    {
        if ($this->where === false || $this->where === [] || $this->where === '') {
            return;
        }

        try {
            $queue = $this->app['queue']->connection($connection);

            if ($queue instanceof RedisQueue || $queue instanceof SyncQueue || $queue instanceof NullQueue) {
                return;
            }

            if (! $queue instanceof DatabaseQueue) {
                $this->ring();

                return;
            }

            $database = $queue->getDatabase();
            // The row is not visible before the transaction commits; after a rollback there is none.
            $tell = function () use ($database): void {
                $this->ring();
                self::notify($database);
            };
            $database->transactionLevel() > 0 ? $database->afterCommit($tell) : $tell();
        } catch (Throwable) {
            // Ignored: the job is queued.
        }
    }

    /**
     * Wakes runtimes on other hosts through PostgreSQL. One NOTIFY covers all jobs within MOMENT: runtimes look again.
     */
    private static function notify(Connection $database): void
    {
        if ($database->getDriverName() === 'pgsql' && microtime(true) - self::$notified > self::MOMENT) {
            // Bypasses Laravel's connection: it is not one of the app's own queries.
            $database->getPdo()->exec('NOTIFY kqueue');
            self::$notified = microtime(true);
        }
    }

    private function ring(): void
    {
        if ($this->where !== true) {
            array_map($this->touch(...), (array) $this->where);

            return;
        }

        $name = Whereabouts::name($this->app);

        foreach (Whereabouts::places() as $place) {
            if ($this->touch("{$place}/{$name}/bell.sock")) {
                return;
            }
        }

        // The directory of a release is named after its date, not after the app. A needless ring costs a runtime one
        // look.
        array_map($this->touch(...), array_slice(glob('/run/kqueue/*/bell.sock') ?: [], 0, self::NEIGHBOURS));
    }

    /** Whether a runtime listens. A busy one, whose socket is full, looks by itself. */
    private function touch(string $bell): bool
    {
        $to = @stream_socket_client('udg://'.$bell, $code, $error, 0);

        if ($to === false) {
            return false;
        }

        stream_set_blocking($to, false);
        @fwrite($to, '!');
        fclose($to);

        return true;
    }
}
