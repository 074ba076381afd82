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

    /** A payload that is kept elsewhere goes after its message has gone, or a second attempt would find none: Laravel's own way. */
    private function isInTransaction(): bool
    {
        return method_exists($this, 'overflowPointer') && $this->overflowPointer() !== null;
    }
}
