<?php

declare(strict_types=1);

namespace Kqueue\Console;

/** The `kqueue` program, as far as artisan has to know it. */
final class Program
{
    /** Exit codes of kqueue: for a wrong command line, and for settings that cannot work. */
    public const USAGE = 2;

    public const CONFIG = 78;

    /** Path of the program, by the path or the name in the app's config; null if there is no such executable. */
    public static function find(string $binary): ?string
    {
        $places = str_contains($binary, '/')
            ? [$binary]
            : array_map(static fn (string $place): string => "{$place}/{$binary}", explode(':', (string) getenv('PATH')));

        foreach ($places as $place) {
            if ($binary !== '' && is_file($place) && is_executable($place)) {
                return $place;
            }
        }

        return null;
    }

    /** Error message for a missing program. */
    public static function absent(string $binary): string
    {
        return "no executable '{$binary}'; install kqueue, or set KQUEUE_BINARY to its path";
    }

    /**
     * The environment that PHP was started with. By now the values of `.env` are in it: kqueue would pass them on to
     * every process, and changes of the file would have no effect.
     *
     * @return array<string, string>
     */
    public static function environment(): array
    {
        $environment = [];

        foreach (explode("\0", (string) @file_get_contents('/proc/self/environ'), -1) as $variable) {
            [$name, $value] = explode('=', $variable, 2) + [1 => ''];
            $environment[$name] = $value;
        }

        return $environment ?: getenv();
    }

    /** A command line, for a shell. */
    public static function line(string $binary, string ...$arguments): string
    {
        return implode(' ', array_map('escapeshellarg', [$binary, ...$arguments]));
    }
}
