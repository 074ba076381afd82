<?php

declare(strict_types=1);

namespace App\Jobs;

/** The same in a process of its own. */
class TracesIsolated extends Traces
{
    /** @var bool read by kqueue; unknown to Laravel */
    public $isolated = true;
}
