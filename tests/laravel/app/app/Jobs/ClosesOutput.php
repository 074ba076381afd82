<?php

declare(strict_types=1);

namespace App\Jobs;

use Illuminate\Support\Facades\DB;

/** Closes the standard streams, as what makes a daemon of itself does, and leaves a transaction open. */
class ClosesOutput extends Recorded
{
    public function __construct(private bool $transaction)
    {
    }

    protected function act(): void
    {
        fclose(STDERR);
        fclose(STDOUT);
        $this->transaction && DB::beginTransaction();
    }
}
