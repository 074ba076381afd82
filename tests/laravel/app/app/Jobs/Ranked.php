<?php

declare(strict_types=1);

namespace App\Jobs;

/** An isolated job that says how important it is. */
class Ranked extends Sleeps
{
    /** @var bool read by kqueue; unknown to Laravel */
    public $isolated = true;

    /** @var int likewise */
    public $priority = 0;
}
