<?php

declare(strict_types=1);

namespace Kqueue\Tests\Machine;

use Kqueue\Tests\Assertions;
use Kqueue\Tests\Facts;
use Kqueue\Tests\RedisBackend;
use Kqueue\Tests\RedisServer;
use Kqueue\Tests\TestApp;
use PDO;

/** An app on the machine, with its queue and its tables. */
final class App
{
    use Assertions;

    /** The queue as the server holds it. */
    public readonly RedisBackend $backend;

    private readonly Dispatcher $dispatcher;

    public function __construct(private readonly Machine $machine, public readonly string $dir, public readonly string $user)
    {
        $this->backend = new RedisBackend(RedisServer::running(), "{$user}_database_", 1);
        $this->dispatcher = new Dispatcher($dir, $user);
    }

    /** Queues a job through the app, as its user, and returns its uuid. */
    public function dispatch(object $job, string $queue = 'default', ?int $delay = null): string
    {
        return $this->dispatcher->push([$job], $queue, $delay)[0];
    }

    /**
     * Queues many jobs.
     *
     * @param list<object> $jobs
     * @return list<string> their uuids
     */
    public function dispatchAll(array $jobs, string $queue = 'default'): array
    {
        $uuids = [];
        foreach (array_chunk($jobs, 100) as $some) {
            array_push($uuids, ...$this->dispatcher->push($some, $queue, null));
        }

        return $uuids;
    }

    /** @return list<array<string, mixed>> what jobs recorded while they ran, oldest first */
    public function effects(?string $what = null, ?string $uuid = null): array
    {
        return Facts::read($this->dir . '/journal.jsonl', $what, $uuid);
    }

    /**
     * Waits for $count facts of a kind, and returns them.
     *
     * @return list<array<string, mixed>>
     */
    public function waitForEffects(string $what, int $count = 1, ?string $uuid = null, float $seconds = 30): array
    {
        return $this->machine->waitFor(function () use ($what, $count, $uuid): ?array {
            $facts = $this->effects($what, $uuid);

            return count($facts) >= $count ? $facts : null;
        }, "{$count} × '{$what}'" . ($uuid === null ? '' : " of {$uuid}"), $seconds);
    }

    /**
     * Every one of these jobs has run to its end exactly once, and nothing of the queue is left.
     *
     * @param list<string> $uuids
     */
    public function expectOnce(array $uuids): void
    {
        foreach (['start', 'end'] as $what) {
            $times = array_count_values(array_column($this->effects($what), 'uuid'));
            foreach ($uuids as $uuid) {
                $this->expectSame(1, $times[$uuid] ?? 0, "'{$what}' of job {$uuid}");
            }
        }
        $this->machine->waitFor(fn (): bool => $this->backend->leftovers() === [], 'the queue to be empty');
        $this->expectSame([], $this->failedJobs(), 'failed jobs');
    }

    /** @return list<array<string, mixed>> rows of failed_jobs */
    public function failedJobs(): array
    {
        return TestApp::database($this->dir)->query('select * from failed_jobs order by id')->fetchAll(PDO::FETCH_ASSOC);
    }

    /**
     * Waits for one failed job, and returns its row.
     *
     * @return array<string, mixed>
     */
    public function waitForFailedJob(?string $uuid = null, float $seconds = 30): array
    {
        return $this->machine->waitFor(function () use ($uuid): ?array {
            foreach ($this->failedJobs() as $row) {
                if ($uuid === null || $row['uuid'] === $uuid) {
                    return $row;
                }
            }

            return null;
        }, 'a failed job', $seconds, Machine::DEAR);
    }

    /** Resets what jobs have changed. The queue is emptied with the server. */
    public function reset(): void
    {
        copy($this->dir . '/database/pristine.sqlite', $this->dir . '/database/database.sqlite');
        file_put_contents($this->dir . '/journal.jsonl', '');
        foreach (['storage/logs/laravel.log', 'broken-boot', 'endless-boot'] as $file) {
            @unlink($this->dir . '/' . $file);
        }
    }

    /** Stops the dispatcher, for when its state is unknown. */
    public function hangUp(): void
    {
        $this->dispatcher->stop();
    }

    /** The journal of the jobs and the app's log, for a failed row. */
    public function trail(): string
    {
        return "jobs:\n" . substr((string) file_get_contents($this->dir . '/journal.jsonl'), -6000)
            . "\nlog of the app:\n" . substr((string) @file_get_contents($this->dir . '/storage/logs/laravel.log'), -4000);
    }
}
