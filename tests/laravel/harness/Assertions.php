<?php

declare(strict_types=1);

namespace Kqueue\Tests;

/** General assertions. */
trait Assertions
{
    public function expect(bool $true, string $what): void
    {
        if (! $true) {
            throw new Failure("not so: {$what}");
        }
    }

    public function expectSame(mixed $expected, mixed $found, string $what): void
    {
        if ($expected !== $found) {
            throw new Failure(sprintf('%s: expected %s, found %s', $what, self::show($expected), self::show($found)));
        }
    }

    public function expectContains(string $needle, string $text, string $what): void
    {
        if (! str_contains($text, $needle)) {
            throw new Failure(sprintf('%s: expected to contain %s, found %s', $what, self::show($needle), self::show(mb_substr($text, 0, 400))));
        }
    }

    private static function show(mixed $value): string
    {
        return (string) json_encode($value, JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE | JSON_INVALID_UTF8_SUBSTITUTE | JSON_PARTIAL_OUTPUT_ON_ERROR);
    }
}
