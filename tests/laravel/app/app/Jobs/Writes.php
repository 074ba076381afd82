<?php

declare(strict_types=1);

namespace App\Jobs;

use Illuminate\Support\Facades\DB;

/** Writes to the app's database, once only: a second row of the same name is an error. */
class Writes extends Recorded
{
    /** @var int seconds, read by kqueue; unknown to Laravel */
    public $estimatedDuration = 10;

    protected function act(): void
    {
        DB::table('cache')->insert(['key' => $this->job->uuid(), 'value' => '1', 'expiration' => 0]);
    }
}
