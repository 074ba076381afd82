<?php

declare(strict_types=1);

namespace KQueue\Jobs;

use AllowDynamicProperties;
use Illuminate\Bus\Queueable;
use Illuminate\Contracts\Queue\ShouldQueue;
use Illuminate\Foundation\Bus\Dispatchable;
use Illuminate\Queue\InteractsWithQueue;
use Illuminate\Queue\SerializesModels;
use KQueue\Contracts\KQueueJobInterface;

/**
 * The base class of the PHP KQueue's jobs, with its defaults: such a job runs unchanged, under kqueue and under stock
 * `queue:work`. A new job needs no base class: any job can declare `isolated`, `maxMemory` and the others.
 *
 * `isolated` is not declared here. Jobs declare it as `bool` or as `?bool`, as their version of the PHP KQueue had it,
 * and PHP takes a property's type from a child only if the parent does not have the property.
 */
#[AllowDynamicProperties]
abstract class KQueueJob implements KQueueJobInterface, ShouldQueue
{
    use Dispatchable;
    use InteractsWithQueue;
    use Queueable;
    use SerializesModels;

    public int $timeout = 30;

    public int $maxMemory = 64;

    public int $priority = 0;

    private ?string $jobId = null;

    public function __construct()
    {
        $this->getJobId();
    }

    public function getTimeout(): int
    {
        return $this->timeout;
    }

    public function getMaxMemory(): int
    {
        return $this->maxMemory;
    }

    public function isIsolated(): ?bool
    {
        return $this->isolated ?? null;
    }

    public function getPriority(): int
    {
        return $this->priority;
    }

    /** Made on demand: the constructor of a child class may not call this one's. */
    public function getJobId(): string
    {
        return $this->jobId ??= uniqid('job_', true);
    }
}
