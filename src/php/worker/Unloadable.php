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
 * Fails a job whose class ends PHP when it is loaded, as far as possible without the class: its batch is updated, but
 * its `failed()`, the callbacks of its chain and the lock of a unique job are out of reach.
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

    /** Whether the process that died had already recorded this job as failed. */
    public static function isWrittenDown(Container $app, Job $job): bool
    {
        $failer = $app->make('queue.failer');

        // That provider numbers its records, and cannot find one by uuid.
        return ! $failer instanceof \Illuminate\Queue\Failed\DatabaseFailedJobProvider && $failer->find($job->uuid()) !== null;
    }

    /** Records it as failed, and nothing else: a listener for failed jobs has ended PHP, too. */
    public static function writeDown(Container $app, Job $job, Throwable $e): void
    {
        $app->make('queue.failer')->log($job->getConnectionName(), $job->getQueue(), $job->getRawBody(), $e);
    }
}
