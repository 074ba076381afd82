<?php

declare(strict_types=1);

namespace App\Jobs;

/** The same in the pool. */
class TracesPooled extends Traces
{
    /** @var int seconds, read by kqueue; unknown to Laravel */
    public $estimatedDuration = 10;
}
