<?php

declare(strict_types=1);

namespace Kqueue;

use Illuminate\Broadcasting\BroadcastEvent;
use Illuminate\Events\CallQueuedListener;
use Illuminate\Mail\SendQueuedMailable;
use Illuminate\Notifications\SendQueuedNotifications;
use Kqueue\Worker\Inspect;

/**
 * What goes into the payload of a job at its dispatch, when it still is an object: kqueue then need not ask PHP about
 * its class, and can route jobs that are encrypted, or that say different things each.
 */
final class Hints
{
    /**
     * Nothing for a job that declares nothing: its payload stays as stock makes it, to the byte.
     *
     * @param array<string, mixed> $payload as far as it is made
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
     * Laravel's own jobs carry what the app wrote: a listener, a mailable, a notification, an event.
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
