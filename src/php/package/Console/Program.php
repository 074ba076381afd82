<?php

declare(strict_types=1);

namespace Kqueue\Console;

/** The `kqueue` program, as far as artisan has to know it. */
final class Program
{
    /** What kqueue says of a wrong command line, and of settings that cannot work. */
    public const USAGE = 2;

    public const CONFIG = 78;

    /** Where it is, by the path or the name that the app's config has; null where nothing of that name can be run. */
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

    /** What to say where it is not there. */
    public static function absent(string $binary): string
    {
        return "no program '{$binary}' that can be run; install kqueue, or say where it is: KQUEUE_BINARY";
    }

    /**
     * The environment as it was when PHP started. By now the values of `.env` are in it: kqueue would hand them on to every
     * process, and no change of the file would count any more.
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
