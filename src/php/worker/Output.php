<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use FFI;

/**
 * Gives a fork an output of its own: a FIFO that the runtime has created for it.
 *
 * PHP has no dup2(), so it is called through FFI. Without FFI, a fork keeps its template's output, which is a socket
 * then: the runtime attributes output by the writer's PID, except that of short-lived children of the fork.
 */
final class Output
{
    private const O_RDWR = 2;

    private static ?FFI $c = null;

    /** Writes a line to standard error, if the job has left it open. */
    public static function say(string $line): void
    {
        \is_resource(STDERR) && @fwrite(STDERR, $line."\n");
    }

    /** Class and message of an error, cut to a length that fits a frame. */
    public static function text(\Throwable $error): string
    {
        return $error::class.': '.substr($error->getMessage(), 0, 500);
    }

    /** Whether a job has closed one of the standard streams: the next file opened would get its descriptor. */
    public static function isClosed(): bool
    {
        return ! \is_resource(STDIN) || ! \is_resource(STDOUT) || ! \is_resource(STDERR);
    }

    /** Binds the C functions; in the template, so that no fork has to. False without FFI. */
    public static function prepare(): bool
    {
        try {
            self::$c = \extension_loaded('ffi') ? FFI::cdef('int open(const char *path, int flags, ...); int dup2(int from, int to); int close(int fd);') : null;
        } catch (\Throwable) {
            // Disabled (`ffi.enable`), or not provided by this C library.
            self::$c = null;
        }

        return self::$c !== null;
    }

    /** In a fork: redirects standard output and error, also of its children, to this FIFO, if it exists. */
    public static function redirect(string $path): void
    {
        if (self::$c === null || ! file_exists($path)) {
            return;
        }

        // For reading too: the FIFO then has a reader even while no runtime runs, and writers get no SIGPIPE.
        $fd = self::$c->open($path, self::O_RDWR);

        if ($fd < 0) {
            return;
        }

        $was = @readlink('/proc/self/fd/2');
        $others = $was === false ? [] : (scandir('/proc/self/fd') ?: []);

        // The app may have opened `php://stderr` for its log before the fork, which is a duplicate descriptor.
        foreach ([1, 2, ...array_map('intval', array_filter($others, static fn (string $name): bool => @readlink("/proc/self/fd/{$name}") === $was))] as $other) {
            self::$c->dup2($fd, $other);
        }

        if ($fd > 2) {
            self::$c->close($fd);
        }
    }
}
