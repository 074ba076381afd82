<?php

declare(strict_types=1);

namespace Kqueue;

use Attribute;

/** Priority among jobs that wait for the same tier: the higher goes first. */
#[Attribute(Attribute::TARGET_CLASS)]
final class Priority
{
    public function __construct(public int $priority)
    {
    }
}
