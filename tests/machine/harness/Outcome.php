<?php

declare(strict_types=1);

namespace Kqueue\Tests\Machine;

/** How a command ended and what it said. */
final class Outcome
{
    public function __construct(
        public readonly string $command,
        public readonly int $status,
        public readonly string $output,
        public readonly string $errors,
    ) {
    }

    public function ok(): bool
    {
        return $this->status === 0;
    }

    /** Everything that was said, errors last. */
    public function text(): string
    {
        return $this->output . $this->errors;
    }
}
