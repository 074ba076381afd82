<?php

declare(strict_types=1);

namespace Kqueue\Tests\Machine;

/** A transient scope that has started and perhaps ended, from the service manager's records in the journal. */
final class Scope
{
    /** systemd's Result: `success`, `oom-kill`, `timeout`, `signal`…; null while it runs */
    public ?string $result = null;

    public function __construct(public readonly string $name)
    {
    }
}
