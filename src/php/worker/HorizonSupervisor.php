<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Closure;
use Laravel\Horizon\Supervisor;
use Laravel\Horizon\SupervisorOptions;

/** A supervisor whose pools show the processes that the runtime reports. */
final class HorizonSupervisor extends Supervisor
{
    use HorizonOrders;

    /** @param Closure(string): void $ask */
    public function __construct(SupervisorOptions $options, Closure $ask)
    {
        // Does not call the parent's constructor, whose pools start processes.
        $this->options = $options;
        $this->name = $options->name;
        $this->processPools = collect();
        $this->output = static fn ($type, $line) => fwrite(STDERR, rtrim((string) $line)."\n");
        $this->ask = $ask;
    }

    /** @param array<string, mixed> $standing */
    public function stands(array $standing): void
    {
        $processes = $standing['processes'];
        $this->options->queue = implode(',', $standing['queues']);
        $this->options->timeout = $standing['timeout'];
        $this->options->maxTries = $standing['tries'];
        $this->options->memory = $standing['memory'];
        $this->options->maxProcesses = max(1, array_sum($processes));
        $this->processPools = collect($processes)->map(static fn ($count, $queue) => new class((string) $queue, (int) $count)
        {
            public function __construct(private string $queue, private int $count)
            {
            }

            public function queue(): string
            {
                return $this->queue;
            }

            public function processes(): array
            {
                return array_fill(0, $this->count, null);
            }
        })->values();
    }

    public function terminate($status = 0)
    {
        ($this->ask)('terminate');
    }

    public function pruneTerminatingProcesses()
    {
    }

    /** The memory of its processes is up to the runtime. */
    public function memoryUsage()
    {
        return 0;
    }
}
