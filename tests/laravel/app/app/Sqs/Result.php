<?php

declare(strict_types=1);

namespace App\Sqs;

/**
 * What a call to SQS brought; what is not in it is null.
 *
 * @implements \ArrayAccess<string, mixed>
 */
final class Result implements \ArrayAccess
{
    /** @param array<string, mixed> $values */
    public function __construct(private array $values)
    {
    }

    public function get(string $name): mixed
    {
        return $this->values[$name] ?? null;
    }

    public function offsetExists(mixed $name): bool
    {
        return isset($this->values[$name]);
    }

    public function offsetGet(mixed $name): mixed
    {
        return $this->values[$name] ?? null;
    }

    public function offsetSet(mixed $name, mixed $value): void
    {
        $this->values[$name] = $value;
    }

    public function offsetUnset(mixed $name): void
    {
        unset($this->values[$name]);
    }
}
