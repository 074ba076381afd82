<?php

declare(strict_types=1);

namespace App\Jobs;

use App\Journal;
use Illuminate\Support\Facades\DB;

/** Reads in a transaction that stays open until a file appears. */
class Reads extends Recorded
{
    public function __construct(private string $until)
    {
    }

    protected function act(): void
    {
        DB::transaction(function (): void {
            Journal::write('read', ['users' => DB::table('users')->count()]);
            while (! file_exists($this->until)) {
                usleep(5000);
                clearstatcache();
            }
        });
    }
}
