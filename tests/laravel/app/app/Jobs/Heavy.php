<?php

declare(strict_types=1);

namespace App\Jobs;

/** A slow job that asks for a process of its own. */
class Heavy extends Sleeps
{
    /** @var bool read by kqueue; unknown to Laravel */
    public $isolated = true;
}
