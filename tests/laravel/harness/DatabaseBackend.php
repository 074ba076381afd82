<?php

declare(strict_types=1);

namespace Kqueue\Tests;

use FilesystemIterator;
use PDO;
use RecursiveDirectoryIterator;
use RecursiveIteratorIterator;

/** The `jobs` table of Laravel's database queue. */
final class DatabaseBackend implements Backend
{
    private readonly PDO $pdo;

    private readonly int $retryAfter;

    /** The directory of the app's cache, if that is kept in files; null if it is in the database. */
    private readonly ?string $cache;

    public function __construct(Sandbox $sandbox)
    {
        $this->pdo = $sandbox->database();
        $this->cache = $sandbox->env('CACHE_STORE', 'file') === 'file' ? $sandbox->app . '/storage/framework/cache/data' : null;
        $this->retryAfter = (int) $sandbox->env('QUEUE_RETRY_AFTER', '90');
    }

    public function state(string $queue = 'default'): QueueState
    {
        $now = time();
        $ready = $delayed = $reserved = [];
        $rows = $this->pdo->prepare('select * from jobs where queue = ? order by id');
        $rows->execute([$queue]);
        foreach ($rows->fetchAll() as $row) {
            $entry = ['payload' => $row['payload'], 'attempts' => (int) $row['attempts'], 'row' => $row];
            if ($row['reserved_at'] !== null) {
                $reserved[] = $entry + ['due' => (int) $row['reserved_at'] + $this->retryAfter];
            } elseif ($row['available_at'] > $now) {
                $delayed[] = $entry + ['due' => (int) $row['available_at']];
            } else {
                $ready[] = $entry + ['due' => (int) $row['available_at']];
            }
        }
        $rows->execute(["{$queue}:broken"]);

        return new QueueState($ready, $delayed, $reserved, array_column($rows->fetchAll(), 'payload'));
    }

    public function makeDue(string $queue = 'default'): void
    {
        $this->run('update jobs set available_at = ? where queue = ? and reserved_at is null', time() - 1, $queue);
    }

    public function expireLeases(string $queue = 'default'): void
    {
        $this->run('update jobs set reserved_at = ? where queue = ? and reserved_at is not null', time() - $this->retryAfter - 1, $queue);
    }

    public function dropLeases(string $queue = 'default'): void
    {
        $this->run('delete from jobs where queue = ? and reserved_at is not null', $queue);
    }

    public function setAttempts(int $attempts, string $queue = 'default'): void
    {
        $this->run('update jobs set attempts = ? where queue = ?', $attempts, $queue);
    }

    public function push(string $payload, string $queue = 'default'): void
    {
        $this->run('insert into jobs (queue, payload, attempts, available_at, created_at) values (?, ?, 0, ?, ?)', $queue, $payload, time(), time());
    }

    public function leftovers(): array
    {
        return array_map(static fn (array $row): string => "{$row['queue']}#{$row['id']}", $this->pdo->query('select queue, id from jobs')->fetchAll());
    }

    public function queues(): array
    {
        $names = $this->pdo->query('select distinct queue from jobs')->fetchAll(PDO::FETCH_COLUMN);

        return array_values(array_unique(preg_replace('/:broken$/', '', $names)));
    }

    public function cacheKeys(array $known = []): array
    {
        if ($this->cache === null) {
            $rows = $this->pdo->query('select * from cache union all select * from cache_locks')->fetchAll();

            return array_column(array_filter($rows, static fn (array $row): bool => $row['expiration'] > time()), 'key');
        }
        $names = [];
        foreach ($known as $key) {
            $names[sha1($key)] = $key;
            // Laravel 13's name of a lock.
            $names[sha1("file-store-lock:{$key}")] = $key;
        }
        $files = [];
        $all = new RecursiveIteratorIterator(new RecursiveDirectoryIterator($this->cache, FilesystemIterator::SKIP_DOTS));
        foreach ($all as $file) {
            // A file starts with its expiration time.
            if ($file->isFile() && (int) file_get_contents($file->getPathname(), length: 10) > time()) {
                $files[] = $names[$file->getFilename()] ?? 'a file';
            }
        }

        return $files;
    }

    private function run(string $sql, string|int ...$values): void
    {
        $this->pdo->prepare($sql)->execute($values);
    }
}
