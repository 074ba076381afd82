<?php

declare(strict_types=1);

namespace Kqueue\Tests;

/** A row under one engine on one service. */
final class TestCase
{
    /**
     * @param array<string, string|int|true> $back options that hold kqueue to stock's behaviour
     * @param string|null $tier where jobs go that ask for no tier; null leaves it to kqueue
     */
    public function __construct(
        public readonly Row $row,
        public readonly string $engine,
        public readonly Service $service,
        public readonly array $back = [],
        public readonly ?string $tier = null,
    ) {
    }

    /** How it is run, apart from row and service. */
    public function variant(): string
    {
        return match (true) {
            $this->back !== [] => $this->engine . ' [' . http_build_query($this->back, '', ' ') . ']',
            $this->tier !== null => "{$this->engine} {$this->tier}",
            default => $this->engine,
        };
    }

    /** What is run, apart from how. */
    public function subject(): string
    {
        return "{$this->row->id} {$this->service->name} {$this->row->title}";
    }

    public function name(): string
    {
        return sprintf('%-8s %-8s %-15s %s', $this->row->id, $this->service->name, $this->variant(), $this->row->title);
    }
}
