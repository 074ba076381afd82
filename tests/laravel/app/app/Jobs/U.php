<?php

declare(strict_types=1);

namespace App\Jobs;

use Illuminate\Contracts\Queue\ShouldBeUnique;

/** The unique job class that the payload fixtures name. */
class U extends T implements ShouldBeUnique
{
    /** @var int */
    public $uniqueFor = 60;

    /** @var string|null set by Laravel 13.24 and later */
    public $uniqueLockOwner;
}
