<?php

declare(strict_types=1);

namespace Kqueue;

use Illuminate\Broadcasting\BroadcastEvent;
use Illuminate\Events\CallQueuedListener;
use Illuminate\Mail\SendQueuedMailable;
use Illuminate\Notifications\SendQueuedNotifications;
use Kqueue\Worker\Inspect;

/**
 * Hints that are added to a job's payload at its dispatch, when it is still an object: kqueue then need not have PHP
 * inspect its class, and can route jobs that are encrypted, or that declare values per object.
 */
final class Hints
{
    /**
     * Empty for a job that declares nothing: its payload stays identical to stock's.
     *
     * @param array<string, mixed> $payload as made so far
     * @return array<string, mixed>
     */
    public static function of(array $payload): array
    {
        $job = is_array($payload['data'] ?? null) ? $payload['data']['command'] ?? null : null;

        if (! is_object($job)) {
            return [];
        }

        $hints = Inspect::ofJob($job) + self::within($job);
        $timeout = $payload['timeout'] ?? Inspect::attribute($job, 'timeout');

        return ($hints === [] ? [] : ['kqueue' => $hints])
            + (is_int($timeout) && ($payload['timeout'] ?? null) === null ? ['timeout' => $timeout] : []);
    }

    /**
     * Hints of what Laravel's own jobs carry: the app's listener, mailable, notification or event.
     *
     * @return array<string, scalar>
     */
    private static function within(object $job): array
    {
        return match (true) {
            $job instanceof CallQueuedListener => Inspect::ofClass($job->class),
            $job instanceof SendQueuedMailable => Inspect::ofJob($job->mailable),
            $job instanceof SendQueuedNotifications => Inspect::ofJob($job->notification),
            $job instanceof BroadcastEvent => Inspect::ofJob($job->event),
            default => [],
        };
    }
}
