<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Throwable;

/**
 * The life cycle of one PHP process: connect, identify, boot the app, then fork others or run jobs.
 */
final class Process
{
    /** Seconds for which a runtime that is gone is redialled. */
    private const PATIENCE = 60;

    private ?Wire $wire = null;

    /** @var array<string, mixed> The header of WELCOME; see src/core/wire/protocol.md. */
    private array $order = [];

    private Notify $notify;

    public function __construct(
        private string $mode,
        private string $socket,
        private string $worker,
        /** The directory of the files that the runtime shares with its processes. */
        private string $directory,
    ) {
        $this->notify = new Notify;
    }

    public function run(): int
    {
        $frame = $this->introduce();

        if ($frame === null) {
            return 1;
        }

        $this->order = $frame[1];
        // Hidden from the app and from programs that its jobs start.
        foreach (['KQUEUE_SOCKET', 'KQUEUE_DIRECTORY', 'KQUEUE_WORKER', 'NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID', 'LISTEN_FDS', 'LISTEN_PID', 'LISTEN_FDNAMES'] as $name) {
            putenv($name);
            unset($_SERVER[$name], $_ENV[$name]);
        }

        $boot = new Boot($this->order, $this->mode === 'template' ? new Held($this->order['fork_safe_peers'] ?? []) : null);
        $early = $this->mode === 'template' && ($this->order['early'] ?? false);
        // A fatal error or an exit() in the app's own boot code ends PHP without an exception to catch.
        $booting = true;
        register_shutdown_function(function () use (&$booting): void {
            if ($booting) {
                $error = Misconfigured::fatal();
                $this->wire->send(Wire::BOOT_FAILED, [
                    'class' => $error ? 'PHP' : 'exit',
                    'message' => $error['message'] ?? 'the app ended PHP while it booted',
                    'file' => $error['file'] ?? '',
                    'line' => $error['line'] ?? 0,
                    'fault' => Misconfigured::fault($this->order['path'], null, false),
                ]);
            }
        });

        try {
            $early ? $boot->begin() : $boot->boot();
            $booting = false;

            if ($this->mode === 'template') {
                $child = (new Template($this->wire, $boot))->run();

                if ($child === null) {
                    return 0;
                }

                // In a fork: take on the mode and the worker that the runtime has requested.
                ['mode' => $this->mode, 'worker' => $this->worker] = $child;
                Output::redirect("{$this->directory}/fork-{$this->worker}.out");
                $this->dial();

                if ($early) {
                    $booting = true;
                    $boot->finish();
                    $booting = false;
                }
            }
        } catch (Throwable $e) {
            $booted = ! $booting;
            $booting = false;
            $this->wire->send(Wire::BOOT_FAILED, [
                'class' => $e::class,
                'message' => $e->getMessage(),
                'file' => $e->getFile(),
                'line' => $e->getLine(),
                'fault' => Misconfigured::fault($this->order['path'], $e, $booted),
            ]);

            return 1;
        }

        if ($this->mode === 'horizon') {
            return (new Horizon($this->wire, $boot))->run();
        }

        // A process that outlives the runtime dials the next one.
        $redial = ($this->order['redial'] ?? false) && $this->mode !== 'lane' ? $this->redial(...) : null;

        return (new Loop($this->wire, $boot, $this->mode, $this->tickets(), $this->notify, $redial))->run();
    }

    /**
     * The FIFO from which a lane claims jobs that were sent ahead to it.
     *
     * @return resource|null
     */
    private function tickets()
    {
        $path = "{$this->directory}/lane-{$this->worker}.tickets";
        $pipe = $this->mode === 'lane' && file_exists($path) ? @fopen($path, 'r+') : false;

        if ($pipe === false) {
            return null;
        }

        stream_set_blocking($pipe, false);
        stream_set_read_buffer($pipe, 0);

        return $pipe;
    }

    /**
     * Sends HELLO and waits for WELCOME. A process in a unit of its own retries: it outlives the runtime, which may go
     * away before it has replied.
     *
     * @return array{0: int, 1: array<string, mixed>, 2: string}|null
     */
    private function introduce(): ?array
    {
        $unit = (string) getenv('NOTIFY_SOCKET') !== '';

        for ($until = microtime(true) + self::PATIENCE; ; usleep(500_000)) {
            try {
                $this->dial();
                $frame = $this->wire->receive();
            } catch (\RuntimeException $e) {
                $frame = false;
            }

            if (is_array($frame)) {
                return $frame[0] === Wire::WELCOME ? $frame : null;
            }

            if (! $unit || microtime(true) > $until) {
                isset($e) && fwrite(STDERR, $e->getMessage()."\n");

                return null;
            }
        }
    }

    /** @param int|null $job id of the last job received, in a process that has served a runtime before */
    private function dial(?int $job = null): void
    {
        $this->wire = Wire::connect($this->socket);
        $this->wire->send(Wire::HELLO, [
            'version' => 1,
            'mode' => $this->mode,
            'worker' => $this->worker,
            'pid' => getmypid(),
            'php' => PHP_VERSION,
        ] + ($job === null ? [] : ['job' => $job]));
    }

    /** Connects to the next runtime; null if there is none within PATIENCE seconds. */
    private function redial(int $job): ?Wire
    {
        for ($until = microtime(true) + self::PATIENCE; microtime(true) < $until; usleep(200_000)) {
            try {
                $this->dial($job);

                return $this->wire;
            } catch (\RuntimeException) {
                // No runtime listens yet.
            }
        }

        return null;
    }
}
