<?php

declare(strict_types=1);

namespace App\Jobs;

use Illuminate\Contracts\Queue\ShouldBeUniqueUntilProcessing;

/** One at a time on the queue: another may be dispatched as soon as it runs. */
class UniqueUntilStart extends Unique implements ShouldBeUniqueUntilProcessing
{
}
