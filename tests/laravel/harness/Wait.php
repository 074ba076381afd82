<?php

declare(strict_types=1);

namespace Kqueue\Tests;

use Closure;

/** Polls a condition until a deadline, instead of sleeping for a fixed time. */
final class Wait
{
    /**
     * @template T
     * @param Closure(): T $fact
     * @param int $pause microseconds between two polls; more for an expensive one
     * @return T the first value that is true
     */
    public static function until(Closure $fact, string $what, float $seconds = 15.0, int $pause = 5000): mixed
    {
        $deadline = hrtime(true) + $seconds * 1e9;
        do {
            if ($value = $fact()) {
                return $value;
            }
            usleep($pause);
        } while (hrtime(true) < $deadline);

        throw new Failure("waited {$seconds} s in vain for {$what}");
    }
}
