<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use FFI;

/**
 * Gives a fork an output of its own: a FIFO that the runtime has made for it.
 *
 * PHP has no dup2(). Where FFI is there, it is used for that. Where it is not, a fork goes on to print into its
 * template's output, which is a socket then: the runtime tells by the process that wrote, which works for all but
 * what a child of the fork wrote that was gone at once.
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

    /** An error in words, at a length that a frame can carry. */
    public static function text(\Throwable $error): string
    {
        return $error::class.': '.substr($error->getMessage(), 0, 500);
    }

    /** Whether a job has closed one of the standard streams: what is opened next would get its number. */
    public static function isClosed(): bool
    {
        return ! \is_resource(STDIN) || ! \is_resource(STDOUT) || ! \is_resource(STDERR);
    }

    /** In the template, so that no fork has to. */
    public static function prepare(): bool
    {
        try {
            self::$c = \extension_loaded('ffi') ? FFI::cdef('int open(const char *path, int flags, ...); int dup2(int from, int to); int close(int fd);') : null;
        } catch (\Throwable) {
            // Switched off (`ffi.enable`), or not to be had from this C library.
            self::$c = null;
        }

        return self::$c !== null;
    }

    /** In a fork. Standard output and error, also of what it starts, go to this file from now on, if it is there. */
    public static function redirect(string $path): void
    {
        if (self::$c === null || ! file_exists($path)) {
            return;
        }

        // For reading too: so it has a reader even while no runtime is there, and nobody who writes ends of that.
        $fd = self::$c->open($path, self::O_RDWR);

        if ($fd < 0) {
            return;
        }

        $was = @readlink('/proc/self/fd/2');
        $others = $was === false ? [] : (scandir('/proc/self/fd') ?: []);

        // The app may have opened `php://stderr` for its log before the fork, which is another descriptor.
        foreach ([1, 2, ...array_map('intval', array_filter($others, static fn (string $name): bool => @readlink("/proc/self/fd/{$name}") === $was))] as $other) {
            self::$c->dup2($fd, $other);
        }

        if ($fd > 2) {
            self::$c->close($fd);
        }
    }
}
