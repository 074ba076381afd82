<?php

declare(strict_types=1);

namespace Kqueue\Tests\Machine;

/** A unit of the system's service manager, which is queried at each call. */
final class Unit
{
    public function __construct(private readonly Machine $machine, public readonly string $name)
    {
    }

    /** One property, as `systemctl show` prints it. */
    public function property(string $name): string
    {
        return $this->properties($name)[$name] ?? '';
    }

    /** @return array<string, string> the properties of these names, or all */
    public function properties(string ...$names): array
    {
        $only = $names === [] ? '' : '-p ' . implode(',', $names);
        $properties = [];
        foreach (explode("\n", $this->machine->must("systemctl show {$only} -- " . escapeshellarg($this->name))) as $line) {
            if (str_contains($line, '=')) {
                [$name, $value] = explode('=', $line, 2);
                $properties[$name] = $value;
            }
        }

        return $properties;
    }

    public function state(): string
    {
        return $this->property('ActiveState');
    }

    public function isActive(): bool
    {
        return $this->state() === 'active';
    }

    /** Its main process; 0 where there is none. */
    public function pid(): int
    {
        return (int) $this->property('MainPID');
    }

    /** Bytes of memory that its main process has (VmRSS), or had at most (VmHWM). */
    public function memory(string $which): int
    {
        preg_match("/^{$which}:\\s+(\\d+) kB/m", (string) file_get_contents("/proc/{$this->pid()}/status"), $found);

        return (int) $found[1] << 10;
    }

    /** A property that is a span of time, in seconds. */
    public function seconds(string $name): float
    {
        $text = $this->property($name);
        if ($text === 'infinity') {
            return INF;
        }
        $units = ['us' => 1e-6, 'ms' => 1e-3, 's' => 1, 'min' => 60, 'h' => 3600, 'd' => 86400, 'w' => 604800];
        preg_match_all('/([0-9.]+)(us|ms|s|min|h|d|w)\b/', $text, $parts, PREG_SET_ORDER);

        return array_sum(array_map(static fn (array $part): float => (float) $part[1] * $units[$part[2]], $parts));
    }

    /** Sends its main process a signal. */
    public function kill(string $signal): void
    {
        $this->machine->must("systemctl kill -s {$signal} --kill-who=main -- " . escapeshellarg($this->name));
    }

    /** Waits until a property has a value. */
    public function waitFor(string $property, string $value, float $seconds = 30): void
    {
        $this->machine->waitFor(
            fn (): bool => $this->property($property) === $value,
            "{$property} of {$this->name} to be '{$value}'",
            $seconds,
            Machine::DEAR,
        );
    }

    /** Waits until the unit is active with another main process, and returns its PID. */
    public function waitForNewPid(int $old, float $seconds = 30): int
    {
        return $this->machine->waitFor(function () use ($old): int|false {
            $now = $this->properties('MainPID', 'ActiveState');
            $pid = (int) $now['MainPID'];

            return $now['ActiveState'] === 'active' && $pid !== 0 && $pid !== $old ? $pid : false;
        }, "{$this->name} to be another process than {$old}, and active", $seconds, Machine::DEAR);
    }

    /** @return list<int> every process of it, sub-groups included */
    public function processes(): array
    {
        return array_keys(array_filter($this->machine->units(), fn (string $unit): bool => $unit === $this->name));
    }
}
