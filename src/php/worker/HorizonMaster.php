<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Closure;
use Laravel\Horizon\MasterSupervisor;

/** A master that has one supervisor, and passes on what it is told: the runtime decides about processes. */
final class HorizonMaster extends MasterSupervisor
{
    use HorizonOrders;

    /** Asked when this process has grown too large. */
    public const LEAVE = 'leave';

    private int $baseline;

    /** @param Closure(string): void $ask */
    public function __construct(string $name, ?string $environment, HorizonSupervisor $supervisor, Closure $ask)
    {
        // Not the parent's: it makes a name anew for each process.
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

    /** What has come on top of the booted app, which is as large as it is. */
    public function memoryUsage()
    {
        return (memory_get_usage() - $this->baseline) / 1024 / 1024;
    }
}
