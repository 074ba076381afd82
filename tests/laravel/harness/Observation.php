<?php

declare(strict_types=1);

namespace Kqueue\Tests;

/**
 * The observable state of an app after a scenario, in a form that does not change from run to run.
 *
 * Random values are replaced by names: uuids by the number of the job, directories, prefixes, times. Facts of one job
 * keep their order; those of different jobs have none, since kqueue runs jobs in parallel.
 */
final class Observation
{
    private const UUID = '/\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b/';

    /** @param list<string> $uuids of the jobs that the scenario queued, in that order */
    public function __construct(private readonly World $world, private readonly array $uuids)
    {
    }

    /** @return array<string, mixed> */
    public function take(): array
    {
        return [
            'facts' => $this->facts(),
            'queues' => $this->queues(),
            'failed_jobs' => $this->failed(),
            'job_batches' => $this->batches(),
            'cache' => $this->cache(),
            'log' => $this->log(),
        ];
    }

    /** @return array<string, list<string>> the facts of each job, in order */
    private function facts(): array
    {
        $facts = [];
        foreach ($this->world->journal() as $fact) {
            if (($fact['event'] ?? '') === 'WorkerStopping') {
                continue;
            }
            $facts[$this->job($fact['uuid'] ?? null)][] = $fact;
        }
        foreach ($facts as $job => &$list) {
            $list = array_map(function (array $fact): string {
                unset($fact['pid'], $fact['t'], $fact['uuid'], $fact['sha1']);

                return $this->plain(json_encode($fact, JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE));
            }, Facts::byAttempt($list));
            // Facts of no job, or of jobs that a job queued: several may be interleaved here.
            str_starts_with($job, 'job ') || sort($list);
        }
        ksort($facts);

        return $facts;
    }

    /** @return array<string, mixed> by queue and state: payload, attempts, and seconds until it is due */
    private function queues(): array
    {
        $found = [];
        foreach ($this->world->backend->queues() as $queue) {
            $state = $this->world->backend->state($queue);
            foreach (['ready' => $state->ready, 'delayed' => $state->delayed, 'reserved' => $state->reserved] as $where => $entries) {
                foreach ($entries as $entry) {
                    $uuid = json_decode($entry['payload'], true)['uuid'] ?? null;
                    $found[] = [
                        'queue' => "{$queue} {$where}",
                        'payload' => $this->payload($entry['payload']),
                        'attempts' => $entry['attempts'],
                        // Ready jobs are due; since when does not matter.
                        'due~' => $where === 'ready' ? 0 : $entry['due'] - $this->heardOf($uuid),
                    ];
                }
            }
        }
        sort($found);

        return $found;
    }

    /** Time of a job's last fact, or of any fact, in seconds since 1970; 0 without facts. */
    private function heardOf(?string $uuid): int
    {
        $facts = $this->world->journal(uuid: $uuid) ?: $this->world->journal();

        return (int) (end($facts)['t'] ?? 0);
    }

    /** @return list<array<string, mixed>> */
    private function failed(): array
    {
        $rows = array_map(fn (array $row): array => [
            'job' => $this->job($row['uuid']),
            'connection' => $row['connection'],
            'queue' => $this->plain($row['queue']),
            'payload' => $this->payload($row['payload']),
            // Class and message; location and trace depend on the engine.
            'exception' => $this->plain(preg_replace('/ in \S+:\d+$/', '', strtok($row['exception'], "\n"))),
        ], $this->world->failed());
        sort($rows);

        return $rows;
    }

    /** @return list<array<string, mixed>> */
    private function batches(): array
    {
        $rows = $this->world->sandbox->database()->query('select * from job_batches')->fetchAll();
        $rows = array_map(function (array $row): array {
            $failed = array_map($this->job(...), json_decode($row['failed_job_ids'], true) ?? []);
            // Jobs of a batch run in parallel, and fail in any order.
            sort($failed);

            return [
                'name' => $row['name'],
                'total' => (int) $row['total_jobs'],
                'pending' => (int) $row['pending_jobs'],
                'failed' => (int) $row['failed_jobs'],
                'failed_job_ids' => $failed,
                'cancelled' => $row['cancelled_at'] !== null,
                'finished' => $row['finished_at'] !== null,
            ];
        }, $rows);
        sort($rows);

        return $rows;
    }

    /** @return list<string> the keys of the cache, including locks; for files, whose names are hashes, one word each */
    private function cache(): array
    {
        $keys = array_map($this->plain(...), $this->world->backend->cacheKeys());
        sort($keys);

        return $keys;
    }

    /** @return list<string> the lines of the app's log: level, text and context, without traces */
    private function log(): array
    {
        preg_match_all('/^\[\d{4}-[^\]]*\] (\S+: .*)$/m', $this->world->sandbox->log(), $lines);
        $lines = array_map(fn (string $line): string => $this->plain(preg_replace('/[,{] ?"exception":"\[object\].*$/', '', $line)), $lines[1]);
        sort($lines);

        return $lines;
    }

    private function job(?string $uuid): string
    {
        $number = $uuid === null ? false : array_search($uuid, $this->uuids, true);

        return match (true) {
            $uuid === null => 'no job',
            $number === false => 'others',
            default => sprintf('job %d', $number + 1),
        };
    }

    private function payload(string $payload): string
    {
        $decoded = json_decode($payload, true);
        if (! is_array($decoded)) {
            return $this->plain($payload);
        }
        unset($decoded['id'], $decoded['attempts']);
        if (preg_match('/^[OC]:/', $decoded['data']['command'] ?? 'O:') === 0) {
            $decoded['data']['command'] = '<encrypted>';
        }

        return $this->plain(json_encode($decoded, JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE));
    }

    /** Replaces random values by names. */
    private function plain(string $text): string
    {
        $sandbox = $this->world->sandbox;
        $text = $sandbox->service->plain($sandbox, $text);
        $text = str_replace([$sandbox->dir, $sandbox->prefix], ['<dir>', '<prefix>'], $text);
        $text = preg_replace_callback(self::UUID, fn (array $uuid): string => '<' . $this->job($uuid[0]) . '>', $text);

        // The bytes that were free at an out-of-memory error vary.
        $text = preg_replace('/\d+ bytes/', '<n> bytes', $text);
        // A closure is signed with the app's key, and the owner of a lock is random.
        $text = preg_replace('/((?:LockOwner|lock_owner)\W+)s:\d+:\\\\*"\w+/', '$1<owner>', $text);
        $text = preg_replace('/s:4:\\\\*"(hash|self)\\\\*";s:\d+:\\\\*"[^"]*"/', '<$1>', $text);
        // Seconds since 1970 with their fraction, and dates, also within a serialized string, whose length goes with them.
        $text = preg_replace('/s:\d+:\\\\?"\d{4}-\d\d-\d\d[ T][^"]*"/', '<time>', $text);

        return preg_replace(['/\b1[789]\d{8}(\.\d+)?\b/', '/\b\d{4}-\d\d-\d\d[ T][\d:.]+(Z|[+-]\d\d:\d\d)?/'], '<time>', $text);
    }
}
