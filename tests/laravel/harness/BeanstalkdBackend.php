<?php

declare(strict_types=1);

namespace Kqueue\Tests;

use LogicException;

/** The tubes of a beanstalkd that is the scenario's own. */
final class BeanstalkdBackend implements Backend
{
    public function __construct(private readonly BeanstalkdServer $server, private readonly Backend $cache)
    {
    }

    public function state(string $queue = 'default'): QueueState
    {
        $entries = ['ready' => [], 'delayed' => [], 'reserved' => [], 'buried' => []];
        foreach ($this->in($queue) as $id => $job) {
            $entries[$job['state']][] = ['payload' => $job['body'], 'attempts' => (int) $job['reserves'], 'due' => time() + (int) $job['time-left'], 'row' => ['id' => $id]];
        }

        return new QueueState($entries['ready'], $entries['delayed'], $entries['reserved']);
    }

    public function makeDue(string $queue = 'default'): void
    {
        foreach ($this->in($queue) as $id => $job) {
            $job['state'] === 'delayed' && $this->server->ask("kick-job {$id}");
        }
    }

    /** A reservation lasts for as long as its connection, or until its time to run is over. */
    public function expireLeases(string $queue = 'default'): void
    {
        if ($this->state($queue)->reserved !== []) {
            throw new LogicException('nobody can end another\'s reservation in beanstalkd');
        }
    }

    public function dropLeases(string $queue = 'default'): void
    {
        throw new LogicException('nobody can delete what another has reserved in beanstalkd');
    }

    public function setAttempts(int $attempts, string $queue = 'default'): void
    {
        // beanstalkd counts them itself, so the jobs are reserved and released.
        $this->server->ask("watch {$queue}");
        for ($attempt = 0; $attempt < $attempts; $attempt++) {
            $held = [];
            while (($answer = $this->server->ask('reserve-with-timeout 0')[0])[0] === 'RESERVED') {
                $held[] = $answer[1];
            }
            foreach ($held as $id) {
                $this->server->ask("release {$id} 1024 0");
            }
        }
    }

    public function push(string $payload, string $queue = 'default'): void
    {
        $this->server->ask("use {$queue}");
        $this->server->ask(sprintf('put 1024 0 90 %d', strlen($payload)), $payload);
    }

    public function leftovers(): array
    {
        return array_map(static fn (int $id, array $job): string => "{$job['tube']}#{$id}", array_keys($this->server->jobs()), $this->server->jobs());
    }

    public function queues(): array
    {
        return array_values(array_unique(array_column($this->server->jobs(), 'tube')));
    }

    public function cacheKeys(array $known = []): array
    {
        return $this->cache->cacheKeys($known);
    }

    /** @return array<int, array<string, string>> in the order in which they were put */
    private function in(string $queue): array
    {
        return array_filter($this->server->jobs(), static fn (array $job): bool => $job['tube'] === $queue);
    }
}
