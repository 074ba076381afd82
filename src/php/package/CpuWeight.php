<?php

declare(strict_types=1);

namespace Kqueue;

use Attribute;

/** Share of the processors that the job gets when it runs isolated; 100 is an equal share. */
#[Attribute(Attribute::TARGET_CLASS)]
final class CpuWeight
{
    public function __construct(public int $weight)
    {
    }
}
