<?php

declare(strict_types=1);

namespace App\Jobs;

/** A class of quick jobs, so that a runtime can learn that it is one. */
class Short extends Sleeps
{
}
