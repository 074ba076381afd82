<?php

declare(strict_types=1);

namespace App\Jobs;

/** A job in a process of its own that says how much memory it may have. */
class Bounded extends Heavy
{
    /** @var int MB, read by kqueue; unknown to Laravel */
    public $maxMemory = 96;
}
