<?php

declare(strict_types=1);

namespace Kqueue;

use Attribute;

/** Processes and threads that the job may have when it runs isolated. */
#[Attribute(Attribute::TARGET_CLASS)]
final class MaxTasks
{
    public function __construct(public int $tasks)
    {
    }
}
