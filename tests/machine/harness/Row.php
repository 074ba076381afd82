<?php

declare(strict_types=1);

namespace Kqueue\Tests\Machine;

use Closure;

/** One behaviour that is to be shown on a booted machine. */
final class Row
{
    /** @var list<self> */
    public static array $all = [];

    /**
     * @param Closure(Machine): void $body
     * @param list<string> $layers
     * @param list<string> $os
     */
    public function __construct(
        public readonly string $name,
        public readonly string $title,
        public readonly Closure $body,
        public readonly array $layers,
        public readonly array $os,
        public readonly float $seconds,
    ) {
    }

    public function runsOn(string $layer, string $os): bool
    {
        return in_array($layer, $this->layers, true) && in_array($os, $this->os, true);
    }
}
