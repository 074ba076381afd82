<?php

declare(strict_types=1);

namespace App;

/** The event that the payload fixtures carry to a queued listener. */
class Ev
{
    /** @var int */
    public $x = 0;
}
