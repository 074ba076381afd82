<?php

declare(strict_types=1);

namespace Kqueue\Tests\Machine;

/** A transient scope that came and perhaps went, as the service manager wrote it into the journal. */
final class Scope
{
    /** systemd's Result: `success`, `oom-kill`, `timeout`, `signal`…; null while it is there */
    public ?string $result = null;

    public function __construct(public readonly string $name)
    {
    }
}
