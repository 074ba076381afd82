<?php

declare(strict_types=1);

namespace Kqueue\Tests;

/** What jobs wrote down while they ran, as `App\Journal` writes it. */
final class Facts
{
    /** @return list<array<string, mixed>> oldest first */
    public static function read(string $file, ?string $what = null, ?string $uuid = null): array
    {
        $facts = [];
        foreach (explode("\n", (string) file_get_contents($file), -1) as $line) {
            $fact = json_decode($line, true, 64, JSON_THROW_ON_ERROR);
            if (($what === null || $fact['what'] === $what) && ($uuid === null || ($fact['uuid'] ?? null) === $uuid)) {
                $facts[] = $fact;
            }
        }

        return $facts;
    }
}
