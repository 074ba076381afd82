<?php

declare(strict_types=1);

namespace Kqueue;

use Attribute;

/** Which of the jobs that wait for one tier goes first: the higher. */
#[Attribute(Attribute::TARGET_CLASS)]
final class Priority
{
    public function __construct(public int $priority)
    {
    }
}
