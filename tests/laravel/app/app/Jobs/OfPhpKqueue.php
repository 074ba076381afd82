<?php

declare(strict_types=1);

namespace App\Jobs;

use App\Journal;
use KQueue\Jobs\KQueueJob;

/** A job as it was written for the PHP KQueue, in the way of its later versions. */
class OfPhpKqueue extends KQueueJob
{
    public ?bool $isolated = true;

    public int $timeout = 11;

    public function __construct(public string $text)
    {
        parent::__construct();
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
