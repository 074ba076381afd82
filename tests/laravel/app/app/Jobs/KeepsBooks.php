<?php

declare(strict_types=1);

namespace App\Jobs;

use Illuminate\Bus\Batchable;
use Illuminate\Support\Facades\Cache;
use Illuminate\Support\Facades\DB;

/** One of a batch. Has Laravel keep as many books as there are: a counter, a lock, and a row read under a lock. */
class KeepsBooks extends Recorded
{
    use Batchable;

    /** @param int $more jobs to add to the batch */
    public function __construct(public int $more = 0)
    {
    }

    protected function act(): void
    {
        if ($this->more > 0) {
            $this->batch()->add(array_fill(0, $this->more, (new self())->with(['tries' => 1])));

            return;
        }
        $books = Cache::store('database');
        $books->increment('jobs');
        $books->lock('book', 10)->block(10, static fn () => usleep(100));
        DB::transaction(static function (): void {
            $row = DB::table('users')->lockForUpdate()->first();
            DB::table('users')->where('id', $row->id)->update(['name' => (int) $row->name + 1]);
        });
    }
}
