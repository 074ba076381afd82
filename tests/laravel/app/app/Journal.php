<?php

declare(strict_types=1);

namespace App;

use Illuminate\Contracts\Queue\Job;
use Throwable;

/**
 * What happened inside the app, for the harness to read: one JSON line per fact.
 *
 * Each line is one write to a file opened for appending, so lines of several processes never mix and a
 * process that is killed leaves whole lines only.
 */
final class Journal
{
    /** @param array<string, mixed> $facts */
    public static function write(string $what, array $facts = []): void
    {
        $line = json_encode(
            ['what' => $what] + $facts + ['pid' => getmypid(), 't' => microtime(true)],
            JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE | JSON_INVALID_UTF8_SUBSTITUTE,
        );
        file_put_contents(dirname(__DIR__) . '/journal.jsonl', $line . "\n", FILE_APPEND);
    }

    /** Facts of a job as the queue holds it. */
    public static function about(?Job $job): array
    {
        return $job === null ? [] : [
            'uuid' => $job->uuid(),
            'attempts' => self::attempts($job),
            'connection' => $job->getConnectionName(),
            'queue' => $job->getQueue(),
        ];
    }

    /** Some drivers ask their server, which has forgotten the job once it is deleted. */
    private static function attempts(Job $job): int
    {
        static $known = null;
        $known ??= new \WeakMap();

        try {
            return $known[$job] = $job->attempts();
        } catch (Throwable) {
            return $known[$job] ?? 0;
        }
    }

    /** Called by the exception handler for everything that is reported. */
    public static function report(Throwable $e): void
    {
        self::write('report', ['exception' => get_class($e), 'message' => mb_substr($e->getMessage(), 0, 300)]);
        if (env('REPORT_THROWS')) {
            throw new \UnexpectedValueException('the log is not writable');
        }
    }
}
