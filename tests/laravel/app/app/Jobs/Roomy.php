<?php

declare(strict_types=1);

namespace App\Jobs;

/** Takes memory, and may. */
class Roomy extends EatsMemory
{
    /** @var bool read by kqueue; unknown to Laravel */
    public $isolated = true;

    /** @var int MB, likewise */
    public $maxMemory = 1024;
}
