<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Illuminate\Queue\Jobs\SqsJob;

final class RuntimeSqsJob extends SqsJob implements RuntimeJob
{
    use HandledByRuntime;

    public function remove(): void
    {
        parent::delete();
    }

    /** Whether Laravel has to delete it: a payload stored elsewhere may go only after its message. */
    private function isInTransaction(): bool
    {
        return method_exists($this, 'overflowPointer') && $this->overflowPointer() !== null;
    }
}
