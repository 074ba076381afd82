<?php

declare(strict_types=1);

namespace App\Jobs;

use Illuminate\Support\Facades\Artisan;

/** Works another queue: one job of it, or all. */
class WorksQueue extends Recorded
{
    public function __construct(public string $other, public string $how = '--once')
    {
    }

    protected function act(): void
    {
        Artisan::call('queue:work', [$this->how => true, '--queue' => $this->other, '--sleep' => 0]);
    }
}
