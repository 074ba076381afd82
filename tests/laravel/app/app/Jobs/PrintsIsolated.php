<?php

declare(strict_types=1);

namespace App\Jobs;

/** Prints, in a process of its own. */
class PrintsIsolated extends Prints
{
    /** @var bool read by kqueue; unknown to Laravel */
    public $isolated = true;
}
