<?php

declare(strict_types=1);

namespace Kqueue\Tests;

/** What jobs recorded while they ran, in the format of `App\Journal`. */
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

    /**
     * The facts of one job, attempt by attempt. A job that was released may be taken by another process before the
     * first has fired its last event, as among several workers of stock.
     *
     * @param list<array<string, mixed>> $facts
     * @return list<array<string, mixed>>
     */
    public static function byAttempt(array $facts): array
    {
        $attempts = $of = [];
        foreach ($facts as $i => $fact) {
            // Not every fact has its attempt, but a process runs one attempt at a time.
            $attempts[$fact['pid']] = $fact['attempts'] ?? $attempts[$fact['pid']] ?? 0;
            $of[$i] = $attempts[$fact['pid']];
        }
        asort($of);

        return array_map(static fn (int $i): array => $facts[$i], array_keys($of));
    }
}
