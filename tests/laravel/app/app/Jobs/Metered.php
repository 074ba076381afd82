<?php

declare(strict_types=1);

namespace App\Jobs;

use Kqueue\Limit;

/** A job that goes on until the harness makes a file: one at a time of each tenant. */
#[Limit(concurrent: 1, by: 'tenant')]
class Metered extends Waits
{
    public function __construct(string $file, string $tier, public string $tenant)
    {
        parent::__construct($file, $tier);
    }
}
