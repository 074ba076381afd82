<?php

declare(strict_types=1);

namespace App\Jobs;

use Illuminate\Support\Facades\DB;
use RuntimeException;

/** Deletes itself and then returns, throws, or takes the deletion back with the transaction it was in. */
class Deletes extends Recorded
{
    public function __construct(public string $then = 'return')
    {
    }

    protected function act(): void
    {
        if ($this->then === 'rollback' && $this->attempts() === 1) {
            DB::beginTransaction();
            $this->delete();
            DB::rollBack();

            return;
        }

        $this->delete();
        if ($this->then === 'throw') {
            throw new RuntimeException('thrown after delete');
        }
    }
}
