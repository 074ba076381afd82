<?php

declare(strict_types=1);

namespace Kqueue\Tests;

/** What an app with nothing to do takes, all its processes together, in memory that would be free without them. */
final class Idle
{
    /** MB of everything that this one has started, itself included. */
    public static function memory(Daemon $daemon): float
    {
        return array_sum(array_map(self::pss(...), self::family($daemon->pid))) / 1024;
    }

    public static function isAsleep(Daemon $daemon): bool
    {
        return $daemon->php() === [] && str_contains($daemon->output(), 'asleep until the next job');
    }

    /** @return list<int> a process and all that it has started */
    private static function family(int $pid): array
    {
        $children = [];
        foreach (array_filter((array) scandir('/proc'), 'ctype_digit') as $other) {
            $stat = (string) @file_get_contents("/proc/{$other}/stat");
            $children[(int) (explode(' ', (string) preg_replace('/^.*\) /s', '', $stat))[1] ?? 0)][] = (int) $other;
        }
        for ($family = [$pid], $i = 0; isset($family[$i]); $i++) {
            array_push($family, ...($children[$family[$i]] ?? []));
        }

        return $family;
    }

    private static function pss(int $pid): int
    {
        preg_match('/^Pss:\s+(\d+)/m', (string) @file_get_contents("/proc/{$pid}/smaps_rollup"), $found);

        return (int) ($found[1] ?? 0);
    }
}
