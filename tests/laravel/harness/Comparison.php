<?php

declare(strict_types=1);

namespace Kqueue\Tests;

/** Compares what was observed under kqueue with what was observed under stock, field by field. */
final class Comparison
{
    /** Seconds by which two times may differ: one boundary of a second on either side. */
    private const SLACK = 2;

    /** @return list<string> the differences, a line each */
    public static function of(mixed $stock, mixed $kqueue, string $field = ''): array
    {
        if (is_array($stock) && is_array($kqueue)) {
            $lines = [];
            foreach (array_keys($stock + $kqueue) as $key) {
                $name = $field === '' ? (string) $key : "{$field}.{$key}";
                $lines = [...$lines, ...match (true) {
                    ! array_key_exists($key, $kqueue) => ["{$name}: only under stock: " . self::say($stock[$key])],
                    ! array_key_exists($key, $stock) => ["{$name}: only under kqueue: " . self::say($kqueue[$key])],
                    default => self::of($stock[$key], $kqueue[$key], $name),
                }];
            }

            return $lines;
        }
        if (str_ends_with($field, '~') && is_int($stock) && is_int($kqueue)) {
            return abs($stock - $kqueue) <= self::SLACK ? [] : ["{$field}: stock {$stock}, kqueue {$kqueue}"];
        }

        return $stock === $kqueue ? [] : ["{$field}: stock  " . self::say($stock), "{$field}: kqueue " . self::say($kqueue)];
    }

    private static function say(mixed $value): string
    {
        return mb_substr(json_encode($value, JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE | JSON_INVALID_UTF8_SUBSTITUTE), 0, 600);
    }
}
