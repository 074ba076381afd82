<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Illuminate\Contracts\Queue\Interruptible;
use Illuminate\Contracts\Queue\Job;
use Throwable;

/** Signals to jobs from outside: maintenance mode, pauses and restarts, which hold a queue, and SIGTERM. */
final class Signals
{
    /** Whether this Laravel passes signals on, as 13.7 and later do. */
    private bool $interrupts;

    public function __construct(private Boot $boot)
    {
        $this->interrupts = interface_exists(Interruptible::class) && function_exists('pcntl_signal');
    }

    /**
     * @param list<string> $queues
     * @return array<string, mixed> the fields of a STATE frame
     */
    public function read(array $queues): array
    {
        $app = $this->boot->app;
        $manager = $app['queue'];
        $state = ['down' => false, 'paused' => [], 'restart' => null];

        try {
            $state['down'] = $app->isDownForMaintenance();
            $state['restart'] = (string) $app['cache.store']->get('illuminate:queue:restart');

            if (method_exists($manager, 'isPaused')) {
                $state['paused'] = array_values(array_filter($queues, fn ($queue) => $manager->isPaused($this->boot->connection(), $queue)));
            }
        } catch (Throwable $e) {
            $state['error'] = Output::text($e);
        }

        return $state;
    }

    /**
     * Whether Laravel passes a signal on to this job. Others must get none: it would interrupt their blocking calls.
     */
    public function interrupts(Job $job): bool
    {
        try {
            return $this->interrupts
                && preg_match('/"commandName":"((?:[^"\\\\]|\\\\.)+)"/', $job->getRawBody(), $found) === 1
                && is_subclass_of(stripslashes($found[1]), Interruptible::class);
        } catch (Throwable) {
            // The class does not load. Its job will fail with Laravel's own error.
            return false;
        }
    }
}
