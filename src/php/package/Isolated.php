<?php

declare(strict_types=1);

namespace Kqueue;

use Attribute;

/** Whether the job runs isolated (true) or inline (false), whatever other declarations suggest. */
#[Attribute(Attribute::TARGET_CLASS)]
final class Isolated
{
    public function __construct(public bool $isolated = true)
    {
    }
}
