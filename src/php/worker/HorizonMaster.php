<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Closure;
use Laravel\Horizon\MasterSupervisor;

/** A master with one supervisor, which passes its orders on to the runtime, where the processes are managed. */
final class HorizonMaster extends MasterSupervisor
{
    use HorizonOrders;

    /** The request to end this process because it uses too much memory. */
    public const LEAVE = 'leave';

    private int $baseline;

    /** @param Closure(string): void $ask */
    public function __construct(string $name, ?string $environment, HorizonSupervisor $supervisor, Closure $ask)
    {
        // Does not call the parent's constructor, which makes a new name for each process.
        $this->name = $name;
        $this->environment = $environment;
        $this->supervisors = collect([$supervisor]);
        $this->output = static fn ($type, $line) => fwrite(STDERR, rtrim((string) $line)."\n");
        $this->ask = $ask;
        $this->baseline = memory_get_usage();
    }

    public function terminate($status = 0)
    {
        // 12: Horizon's listener finds that the master uses too much memory.
        ($this->ask)($status === 12 ? self::LEAVE : 'terminate');
    }

    /** MB used in addition to the booted app. */
    public function memoryUsage()
    {
        return (memory_get_usage() - $this->baseline) / 1024 / 1024;
    }
}
