<?php

declare(strict_types=1);

namespace App\Jobs;

/** A job of which it is known that it belongs into the pool. */
class Pooled extends Sleeps
{
    /** @var int seconds, read by kqueue; unknown to Laravel */
    public $estimatedDuration = 10;
}
