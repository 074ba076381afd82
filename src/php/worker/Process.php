<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Throwable;

/**
 * The life of one PHP process: dial in, say who it is, boot the app, then fork others or run jobs.
 */
final class Process
{
    /** Seconds for which a runtime that went away is dialled again. */
    private const PATIENCE = 60;

    private ?Wire $wire = null;

    /** @var array<string, mixed> What the runtime wants of this process; see WELCOME in src/core/wire/protocol.md. */
    private array $order = [];

    private Notify $notify;

    public function __construct(
        private string $mode,
        private string $socket,
        private string $worker,
        /** Where the runtime makes what it shares with its processes. */
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
        // The socket and the identity are ours, not the business of the app or of what its jobs start.
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

                // Here we are in a fork, and become what the runtime asked the template to fork.
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

        // Where its process outlives the runtime, it dials the next one.
        $redial = ($this->order['redial'] ?? false) && $this->mode !== 'lane' ? $this->redial(...) : null;

        return (new Loop($this->wire, $boot, $this->mode, $this->tickets(), $this->notify, $redial))->run();
    }

    /**
     * The pipe out of which a lane claims jobs that were sent ahead to it.
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
     * Says who we are, and waits to be welcomed. A unit outlives the runtime, which may go before it has answered.
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

    /** @param int|null $job the last job that we were given, in a process that has served a runtime before */
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

    /** The runtime is gone: waits for the next one; null if there is none for a while. */
    private function redial(int $job): ?Wire
    {
        for ($until = microtime(true) + self::PATIENCE; microtime(true) < $until; usleep(200_000)) {
            try {
                $this->dial($job);

                return $this->wire;
            } catch (\RuntimeException) {
                // Its socket is there for as long as the app is wanted; if not now, then soon or never.
            }
        }

        return null;
    }
}
