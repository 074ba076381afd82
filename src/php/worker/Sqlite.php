<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Illuminate\Contracts\Foundation\Application;
use Illuminate\Database\Connection;
use Illuminate\Database\Events\TransactionBeginning;
use Illuminate\Database\Query\Builder;
use PDOException;
use WeakMap;

/**
 * Avoids "database is locked" errors in jobs whose database is SQLite.
 *
 * SQLite has one writer at a time. A transaction that reads before it writes fails at once if another has written in
 * between, whatever its busy timeout; one that begins with BEGIN IMMEDIATE waits for its turn. These begin so:
 * - Laravel's own, which read and then write: of batches, of queues, of counters in the cache;
 * - those that read with a lock (`lockForUpdate()`), and so are about to write;
 * - in a database without a write-ahead log, all of them: there a reader blocks every writer anyway.
 *
 * With a write-ahead log, a transaction that only reads blocks no other, and is left as it is.
 */
final class Sqlite
{
    /** Classes whose transactions read and then write. */
    private const BOOKKEEPERS = ['Illuminate\Bus\DatabaseBatchRepository', 'Illuminate\Queue\DatabaseQueue', 'Illuminate\Cache\DatabaseStore'];

    /** Stack frames searched between the event and the caller of the transaction. */
    private const DEPTH = 16;

    /** Seconds to wait for a turn, where the connection's own busy timeout is shorter. */
    private const PATIENCE = 10;

    /** @var WeakMap<Connection, bool> whether the next statement is the first one of a deferred transaction */
    private static WeakMap $fresh;

    /** @var WeakMap<Connection, bool> whether a connection's database has a write-ahead log */
    private static WeakMap $logged;

    public static function takeTurns(Application $app): void
    {
        self::$fresh = new WeakMap;
        self::$logged = new WeakMap;

        $app['events']->listen(TransactionBeginning::class, static function (TransactionBeginning $event): void {
            if ($event->connection->getDriverName() === 'sqlite' && $event->connection->transactionLevel() === 1) {
                self::begins($event->connection);
            }
        });
    }

    private static function begins(Connection $connection): void
    {
        if (self::isBookkeeping() || ! self::isLogged($connection)) {
            isset(self::$fresh[$connection]) && self::$fresh[$connection] = false;
            self::takeTurn($connection);

            return;
        }

        if (method_exists($connection, 'beforeExecuting')) {
            isset(self::$fresh[$connection]) || $connection->beforeExecuting(static function ($query, $bindings, Connection $connection): void {
                if (self::$fresh[$connection] ?? false) {
                    self::$fresh[$connection] = false;
                    $connection->transactionLevel() > 0 && self::isUnderLock() && self::takeTurn($connection);
                }
            });
            self::$fresh[$connection] = true;
        }
    }

    /** Restarts the transaction, which is still empty, with BEGIN IMMEDIATE. */
    private static function takeTurn(Connection $connection): void
    {
        $pdo = $connection->getPdo();
        $pdo->exec('ROLLBACK');

        for ($until = microtime(true) + self::PATIENCE; ; usleep(random_int(1_000, 10_000))) {
            try {
                $pdo->exec('BEGIN IMMEDIATE');

                return;
            } catch (PDOException $e) {
                $isLocked = str_contains($e->getMessage(), 'locked');

                if ($isLocked && microtime(true) < $until) {
                    continue;
                }

                $pdo->exec('BEGIN');

                // Without a lock conflict, the database is read-only, for which a deferred transaction will do.
                if ($isLocked) {
                    $connection->rollBack();

                    throw $e;
                }

                return;
            }
        }
    }

    private static function isBookkeeping(): bool
    {
        foreach (debug_backtrace(DEBUG_BACKTRACE_IGNORE_ARGS, self::DEPTH) as $frame) {
            if (in_array($frame['class'] ?? '', self::BOOKKEEPERS, true)) {
                return true;
            }
        }

        return false;
    }

    /** Whether the statement that is about to run was built with a lock, which Laravel's grammar for SQLite drops. */
    private static function isUnderLock(): bool
    {
        foreach (debug_backtrace(DEBUG_BACKTRACE_PROVIDE_OBJECT | DEBUG_BACKTRACE_IGNORE_ARGS, self::DEPTH) as $frame) {
            if (($frame['object'] ?? null) instanceof Builder) {
                return $frame['object']->lock !== null;
            }
        }

        return false;
    }

    private static function isLogged(Connection $connection): bool
    {
        return self::$logged[$connection] ??= strtolower((string) $connection->getPdo()->query('PRAGMA journal_mode')->fetchColumn()) === 'wal';
    }
}
