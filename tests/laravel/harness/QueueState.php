<?php

declare(strict_types=1);

namespace Kqueue\Tests;

/** A snapshot of what a queue holds, in the same form for every driver. */
final class QueueState
{
    /**
     * Each entry: `payload` (string), `attempts` (int), `due` (int, epoch: when it may be taken) and, where
     * the driver has one, `row` (the whole row).
     *
     * @param list<array<string, mixed>> $ready to be taken now, including released ones that are due
     * @param list<array<string, mixed>> $delayed
     * @param list<array<string, mixed>> $reserved
     * @param list<string> $broken what kqueue set aside
     */
    public function __construct(
        public readonly array $ready,
        public readonly array $delayed,
        public readonly array $reserved,
        public readonly array $broken = [],
    ) {
    }

    /** @return array{ready: int, delayed: int, reserved: int, broken: int} */
    public function counts(): array
    {
        return [
            'ready' => count($this->ready),
            'delayed' => count($this->delayed),
            'reserved' => count($this->reserved),
            'broken' => count($this->broken),
        ];
    }
}
