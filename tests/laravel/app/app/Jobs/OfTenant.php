<?php

declare(strict_types=1);

namespace App\Jobs;

/** A job of one of several tenants, which takes a while. */
class OfTenant extends Sleeps
{
    public function __construct(int $ms, public string $tenant)
    {
        parent::__construct($ms);
    }
}
