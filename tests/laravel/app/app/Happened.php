<?php

declare(strict_types=1);

namespace App;

/** The event that a scenario's queued listener waits for. */
class Happened
{
    public function __construct(public int $x)
    {
    }
}
