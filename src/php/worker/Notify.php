<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Illuminate\Contracts\Queue\Job;

/**
 * Notifies the service manager, from a process that is a unit of its own: of its readiness, and of the deadline of its
 * job. So a job that hangs is ended even while no runtime runs.
 */
final class Notify
{
    /** @var resource|null */
    private $socket = null;

    /** PID of the sender; a child that a job forks sends nothing. */
    private int $owner;

    /** Whether a deadline is set. */
    private bool $armed = false;

    public function __construct()
    {
        $this->owner = getmypid();
        $path = (string) getenv('NOTIFY_SOCKET');

        if ($path !== '') {
            // A name that begins with @ is an abstract socket, whose address begins with a zero byte.
            $this->socket = @stream_socket_client('udg://'.($path[0] === '@' ? "\0".substr($path, 1) : $path)) ?: null;
        }
    }

    public function ready(): void
    {
        $this->say("READY=1\nSTATUS=waiting for a job");
    }

    /** A job begins that has to end within $seconds; null is without limit. */
    public function begins(Job $job, ?float $seconds): void
    {
        if ($this->socket === null) {
            return;
        }

        $this->armed = $seconds !== null;
        $class = strtr((string) ($job->payload()['displayName'] ?? 'a job'), "\n", ' ');
        $this->say("STATUS=running {$class}".($this->armed ? "\nWATCHDOG_USEC=".(int) ($seconds * 1e6) : ''));
    }

    public function ended(): void
    {
        $this->say('STATUS=waiting for a job'.($this->armed ? "\nWATCHDOG_USEC=0" : ''));
        $this->armed = false;
    }

    private function say(string $state): void
    {
        if ($this->socket !== null && $this->owner === getmypid()) {
            @fwrite($this->socket, $state);
        }
    }
}
