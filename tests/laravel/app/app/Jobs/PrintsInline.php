<?php

declare(strict_types=1);

namespace App\Jobs;

/** Prints, in a lane. */
class PrintsInline extends Prints
{
    /** @var bool read by kqueue; unknown to Laravel */
    public $isolated = false;
}
