<?php

declare(strict_types=1);

namespace Kqueue;

use Attribute;

/** MB that the job needs, including processes that it starts. */
#[Attribute(Attribute::TARGET_CLASS)]
final class MaxMemory
{
    public function __construct(public int $megabytes)
    {
    }
}
