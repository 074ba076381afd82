<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Illuminate\Contracts\Foundation\Application;
use Illuminate\Database\Events\TransactionBeginning;

/**
 * Keeps "database is locked" away from jobs whose queue is in a SQLite database.
 *
 * It has one writer at a time, and the runtime, which reserves and removes jobs, is one. A transaction that reads
 * before it writes, as those of Laravel's batches do, is refused at once if another writer came between, however
 * patient it is. So in our processes a transaction on that database takes its turn as a writer when it begins.
 */
final class Sqlite
{
    public static function takeTurns(Application $app, string $queue): void
    {
        $config = $app['config']["queue.connections.{$queue}"];
        $name = $config['connection'] ?? $app['config']['database.default'];

        if (($config['driver'] ?? '') !== 'database' || $app['config']["database.connections.{$name}.driver"] !== 'sqlite') {
            return;
        }

        $app['events']->listen(TransactionBeginning::class, static function (TransactionBeginning $event) use ($name, $config): void {
            if ($event->connectionName !== $name || $event->connection->transactionLevel() > 1) {
                return;
            }

            try {
                // Deletes nothing, and is a write all the same: this one waits.
                $event->connection->getPdo()->exec("delete from {$event->connection->getQueryGrammar()->wrapTable($config['table'] ?? 'jobs')} where 0");
            } catch (\PDOException $e) {
                $event->connection->rollBack();

                throw $e;
            }
        });
    }
}
