<?php

declare(strict_types=1);

namespace Kqueue\Tests;

/** Processes as /proc shows them. */
final class Processes
{
    /** Environment variable that everything started for a sandbox inherits. */
    public const MARK = 'KQUEUE_TEST_SANDBOX';

    /** Before a command: it ends with the process that has started it, wherever it works by then. */
    public const BOUND = ['setpriv', '--pdeathsig', 'KILL'];

    /** @return list<int> processes that carry the sandbox's mark, whatever their parent is by now */
    public static function of(string $sandbox): array
    {
        $mark = self::MARK . '=' . $sandbox . "\0";

        return array_values(array_filter(self::all(), static function (int $pid) use ($mark): bool {
            $environ = @file_get_contents("/proc/{$pid}/environ");

            return is_string($environ) && str_contains("\0" . $environ, "\0" . $mark) && self::runs($pid);
        }));
    }

    /** @return list<int> processes whose working directory is there: a server may have overwritten its environment */
    public static function within(string $dir): array
    {
        return array_values(array_filter(
            self::all(),
            static fn (int $pid): bool => str_starts_with(@readlink("/proc/{$pid}/cwd") . '/', $dir . '/') && self::runs($pid),
        ));
    }

    /** @return list<int> */
    public static function descendants(int $pid): array
    {
        $parents = [];
        foreach (self::all() as $other) {
            $parents[self::parent($other)][] = $other;
        }
        $found = [];
        for ($queue = [$pid]; $queue !== []; array_push($queue, ...$children), array_push($found, ...$children)) {
            $children = $parents[array_shift($queue)] ?? [];
        }

        return $found;
    }

    /** Whether a process exists, and is not a zombie. */
    public static function runs(int $pid): bool
    {
        return ! in_array(self::stat($pid)[0] ?? 'X', ['Z', 'X'], true);
    }

    public static function isPhp(int $pid): bool
    {
        return str_starts_with(basename((string) @readlink("/proc/{$pid}/exe")), 'php');
    }

    public static function kill(int $signal, int ...$pids): void
    {
        foreach ($pids as $pid) {
            posix_kill($pid, $signal);
        }
    }

    /** Processor time that it has used so far, in seconds. */
    public static function cpuSeconds(int $pid): float
    {
        $stat = self::stat($pid);

        // utime and stime, in hundredths of a second.
        return ((int) ($stat[11] ?? 0) + (int) ($stat[12] ?? 0)) / 100;
    }

    /** @return list<int> */
    private static function all(): array
    {
        return array_map('intval', array_values(array_filter(scandir('/proc') ?: [], 'ctype_digit')));
    }

    private static function parent(int $pid): int
    {
        return (int) (self::stat($pid)[1] ?? 0);
    }

    /** @return list<string> state, parent, … of /proc/PID/stat, after the name in brackets */
    private static function stat(int $pid): array
    {
        $stat = @file_get_contents("/proc/{$pid}/stat");

        return is_string($stat) ? explode(' ', substr($stat, (int) strrpos($stat, ')') + 2)) : [];
    }
}
