<?php

declare(strict_types=1);

namespace App\Jobs;

/** The same in a lane. */
class TracesInline extends Traces
{
    /** @var bool read by kqueue; unknown to Laravel */
    public $isolated = false;
}
