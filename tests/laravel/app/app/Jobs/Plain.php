<?php

declare(strict_types=1);

namespace App\Jobs;

/** Does nothing, successfully. */
class Plain extends Recorded
{
    protected function act(): void
    {
    }
}
