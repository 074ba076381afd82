<?php

declare(strict_types=1);

namespace Kqueue\Tests;

/** A row under one engine on one driver. */
final class TestCase
{
    /** @param array<string, string|int|true> $back */
    public function __construct(
        public readonly Row $row,
        public readonly string $engine,
        public readonly string $driver,
        public readonly array $back = [],
    ) {
    }

    public function name(): string
    {
        $back = $this->back === [] ? '' : ' [' . http_build_query($this->back, '', ' ') . ']';

        return sprintf('%-8s %-8s %-6s %s%s', $this->row->id, $this->driver, $this->engine, $this->row->title, $back);
    }
}
