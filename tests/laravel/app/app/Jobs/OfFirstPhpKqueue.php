<?php

declare(strict_types=1);

namespace App\Jobs;

use App\Journal;
use Illuminate\Contracts\Queue\ShouldQueue;
use KQueue\Jobs\KQueueJob;

/** The same in the way of the first versions, with a constructor that forgets its parent's. */
class OfFirstPhpKqueue extends KQueueJob implements ShouldQueue
{
    public int $maxMemory = 48;

    public bool $isolated = false;

    public int $priority = 5;

    public function __construct(private string $text)
    {
    }

    public function handle(): void
    {
        Journal::write('old', Journal::about($this->job) + [
            'text' => $this->text,
            'says' => [$this->getTimeout(), $this->getMaxMemory(), $this->isIsolated(), $this->getPriority()],
            'id' => $this->getJobId(),
            'limit' => ini_get('memory_limit'),
        ]);
    }
}
