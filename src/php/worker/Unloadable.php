<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Illuminate\Bus\BatchRepository;
use Illuminate\Contracts\Container\Container;
use Illuminate\Contracts\Debug\ExceptionHandler;
use Illuminate\Contracts\Encryption\Encrypter;
use Illuminate\Queue\Jobs\Job;
use Throwable;

/**
 * Fails a job whose class ends PHP as soon as it is loaded, as far as that goes without the class: its `failed()`, the
 * callbacks of its chain and the lock of a unique job are beyond reach, its batch is not.
 */
final class Unloadable
{
    public static function failed(Container $app, Job $job, Throwable $e): void
    {
        try {
            $command = (string) ($job->payload()['data']['command'] ?? '');

            if ($command !== '' && ! str_starts_with($command, 'O:')) {
                $command = (string) $app->make(Encrypter::class)->decrypt($command);
            }

            $fields = (array) @unserialize($command, ['allowed_classes' => false]);

            if (is_string($batch = $fields['batchId'] ?? null) && $app->bound(BatchRepository::class)) {
                ($batch = $app->make(BatchRepository::class)->find($batch)) && $batch->recordFailedJob((string) $job->uuid(), $e);
            }
        } catch (Throwable $error) {
            $app->make(ExceptionHandler::class)->report($error);
        }
    }

    /** Whether a process that died of this job had written it down as failed before. */
    public static function isWrittenDown(Container $app, Job $job): bool
    {
        $failer = $app->make('queue.failer');

        // That one counts its jobs, and finds none by its uuid.
        return ! $failer instanceof \Illuminate\Queue\Failed\DatabaseFailedJobProvider && $failer->find($job->uuid()) !== null;
    }

    /** Writes it down as failed, and nothing else: whoever else is told of failed jobs has ended PHP, too. */
    public static function writeDown(Container $app, Job $job, Throwable $e): void
    {
        $app->make('queue.failer')->log($job->getConnectionName(), $job->getQueue(), $job->getRawBody(), $e);
    }
}
