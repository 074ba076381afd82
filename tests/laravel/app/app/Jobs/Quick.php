<?php

declare(strict_types=1);

namespace App\Jobs;

/** A job that asks to run inline. */
class Quick extends Sleeps
{
    /** @var bool read by kqueue; unknown to Laravel */
    public $isolated = false;
}
