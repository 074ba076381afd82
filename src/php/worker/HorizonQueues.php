<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Illuminate\Contracts\Queue\Factory;

/** The app's queues for Horizon's wait time calculator, including jobs that kqueue has reserved and not begun. */
final class HorizonQueues implements Factory
{
    /** @var array<string, array<string, int>> by connection and queue */
    public array $waiting = [];

    public function __construct(private Factory $queues)
    {
    }

    public function connection($name = null)
    {
        return new class($this->queues->connection($name), $this->waiting[$name] ?? [])
        {
            /** @param array<string, int> $waiting */
            public function __construct(private object $queue, private array $waiting)
            {
            }

            public function readyNow($queue = null)
            {
                return $this->queue->readyNow($queue) + ($this->waiting[$queue] ?? 0);
            }
        };
    }
}
