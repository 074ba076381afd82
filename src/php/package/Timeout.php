<?php

declare(strict_types=1);

namespace Kqueue;

use Attribute;

/** Seconds that the job may run, where it has no property `timeout`. Laravel itself enforces it, under any worker. */
#[Attribute(Attribute::TARGET_CLASS)]
final class Timeout
{
    public function __construct(public int $seconds)
    {
    }
}
