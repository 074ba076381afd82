<?php

declare(strict_types=1);

namespace Kqueue;

use Attribute;

/** Seconds that the job is expected to take. */
#[Attribute(Attribute::TARGET_CLASS)]
final class EstimatedDuration
{
    public function __construct(public int|float $seconds)
    {
    }
}
