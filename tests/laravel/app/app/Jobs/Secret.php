<?php

declare(strict_types=1);

namespace App\Jobs;

use Illuminate\Contracts\Queue\ShouldBeEncrypted;

/** Carries something that must stand in no log. */
class Secret extends Recorded implements ShouldBeEncrypted
{
    public function __construct(public string $secret)
    {
    }

    protected function act(): void
    {
    }
}
