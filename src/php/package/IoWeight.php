<?php

declare(strict_types=1);

namespace Kqueue;

use Attribute;

/** Share of the disks that the job gets when it runs isolated; 100 is an equal share. */
#[Attribute(Attribute::TARGET_CLASS)]
final class IoWeight
{
    public function __construct(public int $weight)
    {
    }
}
