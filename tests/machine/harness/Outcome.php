<?php

declare(strict_types=1);

namespace Kqueue\Tests\Machine;

/** Exit status and output of a command. */
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

    /** Standard output, followed by standard error. */
    public function text(): string
    {
        return $this->output . $this->errors;
    }
}
