<?php

declare(strict_types=1);

namespace Kqueue;

use Illuminate\Contracts\Foundation\Application;
use Illuminate\Queue\DatabaseQueue;
use Throwable;

/**
 * Wakes kqueue when a job was put into a database, which announces nothing. It is a courtesy: whoever dispatches never
 * waits for it, and never learns that nobody was there. kqueue would find the job by itself, a moment later.
 */
final class Doorbell
{
    /** The bells of other apps that are rung, at the most, when our own cannot be told from them. */
    private const NEIGHBOURS = 8;

    /** @param string|list<string>|bool $where */
    private function __construct(private Application $app, private $where)
    {
    }

    public static function of(Application $app): self
    {
        return new self($app, $app['config']['kqueue.doorbell'] ?? true);
    }

    public function queued(?string $connection): void
    {
        if ($this->where === false || $this->where === [] || $this->where === '') {
            return;
        }

        try {
            $queue = $this->app['queue']->connection($connection);

            if (! $queue instanceof DatabaseQueue) {
                return;
            }

            $database = $queue->getDatabase();
            // Nobody sees the row before the transaction is over; if it is rolled back there is nothing to see.
            $database->transactionLevel() > 0 ? $database->afterCommit(fn () => $this->ring()) : $this->ring();
        } catch (Throwable) {
            // The job is queued.
        }
    }

    private function ring(): void
    {
        foreach ($this->bells() as $bell) {
            $to = @stream_socket_client('udg://'.$bell, $code, $error, 0);

            if ($to !== false) {
                stream_set_blocking($to, false);
                @fwrite($to, '!');
                fclose($to);
            }
        }
    }

    /** @return list<string> sockets */
    private function bells(): array
    {
        if ($this->where !== true) {
            return array_values((array) $this->where);
        }

        $name = $this->app['config']['kqueue.app'] ?? self::name($this->app->basePath());
        $places = ['/run/kqueue'];

        if (function_exists('posix_geteuid')) {
            $user = posix_geteuid();
            array_push($places, "/run/user/{$user}/kqueue", "/tmp/kqueue-{$user}");
        }

        foreach ($places as $place) {
            if (@file_exists($bell = "{$place}/{$name}/bell.sock")) {
                return [$bell];
            }
        }

        // The directory of a release is named after its date, not after the app. A bell rung in vain costs its
        // runtime one look.
        return array_slice(glob('/run/kqueue/*/bell.sock') ?: [], 0, self::NEIGHBOURS);
    }

    /** The name that kqueue gives to an app in this directory. */
    private static function name(string $path): string
    {
        return substr(ltrim((string) preg_replace('/[^a-z0-9]/', '_', strtolower(basename($path))), '_'), 0, 32);
    }
}
