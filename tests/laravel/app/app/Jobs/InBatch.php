<?php

declare(strict_types=1);

namespace App\Jobs;

use App\Journal;
use Illuminate\Bus\Batchable;
use RuntimeException;

/** One of a batch: does nothing, throws, ends its process, or sees that the batch is cancelled. */
class InBatch extends Recorded
{
    use Batchable;

    public function __construct(public string $how = 'ok')
    {
    }

    protected function act(): void
    {
        if ($this->batch()->cancelled()) {
            Journal::write('cancelled', ['tag' => $this->tag]);

            return;
        }
        if ($this->how === 'throw') {
            throw new RuntimeException('thrown on purpose');
        }
        $this->how === 'exit' && exit(0);
    }
}
