<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Illuminate\Contracts\Foundation\Application;
use Illuminate\Contracts\Queue\Queue;
use Illuminate\Queue\DatabaseQueue;
use Illuminate\Queue\Jobs\DatabaseJob;
use Illuminate\Queue\Jobs\DatabaseJobRecord;
use Illuminate\Queue\Jobs\Job;

/**
 * Queues in a table. A JOB frame's header has its `row`, without queue and payload.
 */
final class DatabaseDriver extends Driver
{
    public const QUEUE = DatabaseQueue::class;

    public const JOBS = [DatabaseJob::class, DatabaseJobRecord::class];

    /** Number of rows above which a missing index is reported. */
    private const MANY = 10_000;

    public function describe(Application $app, array $fields): array
    {
        $database = $fields['database'];
        $engine = (string) $database->getDriverName();
        $table = (string) ($fields['table'] ?? 'jobs');
        $common = ['driver' => 'database', 'engine' => $engine, 'retry_after' => (int) ($fields['retryAfter'] ?? 60)];

        return $common + match (true) {
            $engine === 'sqlite' => [
                'path' => realpath((string) $database->getDatabaseName()) ?: (string) $database->getDatabaseName(),
                'prefix' => (string) $database->getTablePrefix(),
                'table' => $table,
            ],
            DatabaseServer::serves($engine) => ['table' => $database->getQueryGrammar()->wrapTable($table)] + DatabaseServer::describe($app, $database),
            default => [],
        };
    }

    public function job(Application $app, Queue $queue, string $connection, array $order, string $payload, string $receipt, bool $ours): Job
    {
        $class = $ours ? RuntimeDatabaseJob::class : DatabaseJob::class;
        $record = new DatabaseJobRecord((object) ($order['row'] + ['queue' => $queue->getQueue($order['queue']), 'payload' => $payload]));

        // As in Laravel: the queue's name in the table, which a class of the app's own may change.
        return new $class($app, $queue, $record, $connection, $record->queue);
    }

    public function expect(Application $app, array $config): void
    {
        $name = (string) ($config['connection'] ?? $app['config']['database.default']);
        $connections = (array) $app['config']['database.connections'];

        if (! is_array($connections[$name] ?? null)) {
            $names = implode(', ', array_keys($connections));

            throw new Misconfigured(Misconfigured::CONNECTION, "the app has no database connection named '{$name}', which its queue connection refers to; config/database.php has {$names}");
        }

        $connection = (new \Illuminate\Support\ConfigurationUrlParser)->parseConfiguration($connections[$name]);
        $file = (string) ($connection['database'] ?? '');

        // Laravel's own error would only name a failed query.
        if (($connection['driver'] ?? '') === 'sqlite' && ! preg_match('/^$|:memory:|mode=memory/', $file) && ! file_exists($file)) {
            throw new Misconfigured(Misconfigured::DATABASE_FILE, "the SQLite database {$file} of connection '{$name}' does not exist");
        }
    }

    public function isPlain(array $backend): bool
    {
        return $backend['engine'] === 'sqlite' || DatabaseServer::serves($backend['engine']);
    }

    public function lacks(\ArrayAccess $config, array $settings): ?string
    {
        $name = $settings['connection'] ?? $config['database.default'];
        $engine = $config["database.connections.{$name}.driver"] ?? '';
        $extension = 'pdo_'.($engine === 'mariadb' ? 'mysql' : $engine);

        return in_array($engine, ['sqlite', 'mysql', 'mariadb', 'pgsql'], true) && ! extension_loaded($extension) ? $extension : null;
    }

    public function unindexed(Application $app, array $backend, array $settings): ?string
    {
        $database = $app['db']->connection($settings['connection'] ?? null);
        $table = (string) ($settings['table'] ?? 'jobs');
        $schema = $database->getSchemaBuilder();

        // SQLite makes no use of the index. Older Laravel versions cannot list indexes.
        if (! DatabaseServer::serves($backend['engine']) || ! method_exists($schema, 'getIndexes')
            || $database->table($table)->offset(self::MANY)->limit(1)->value('id') === null) {
            return null;
        }

        foreach ($schema->getIndexes($table) as $index) {
            [$first, $others] = [$index['columns'][0] ?? '', array_slice($index['columns'], 1, 2)];
            sort($others);

            if ([$first, $others] === ['queue', ['available_at', 'reserved_at']]) {
                return null;
            }
        }

        return $table;
    }

    public function files(array $backend): array
    {
        // The directory too: SQLite keeps its journal there.
        return $backend['engine'] === 'sqlite' ? [$backend['path'], dirname($backend['path'])] : [];
    }
}
