<?php

declare(strict_types=1);

namespace Kqueue\Tests;

/** Rows about kqueue's own reservations, which do not apply where its workers pop by themselves. */
final class NativeRows
{
    private const ABSENT = [
        'no pcntl: the timeout' => 'a job whose process is ended from outside comes back by the driver\'s rule: row 46',
        '53' => 'a worker that stands still pops nothing',
        'kqueue is killed with a job running in each tier' => 'there is one tier',
        'found by no job of another tier' => 'there is one tier',
    ];

    public static function excludes(Row $row): ?string
    {
        if ($row->package && $row->id !== 'doorbell') {
            return 'what a job declares chooses its tier, and there is one';
        }

        return self::among(self::ABSENT, $row);
    }

    /** @param array<int|string, string> $absent why a row is absent, by its number or a part of its title */
    public static function among(array $absent, Row $row): ?string
    {
        foreach ($absent as $what => $why) {
            if (is_int($what) ? $row->id === (string) $what : str_contains($row->title, $what)) {
                return $why;
            }
        }

        return null;
    }
}
