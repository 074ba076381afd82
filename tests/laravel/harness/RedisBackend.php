<?php

declare(strict_types=1);

namespace Kqueue\Tests;

use Redis;
use RedisCluster;

/** The keys of Laravel's Redis queue. */
final class RedisBackend implements Backend
{
    private Redis|RedisCluster|null $redis = null;

    /** @param bool $tagged whether names are in braces, as Laravel has them in a cluster from 13.5 on */
    public function __construct(
        private readonly RedisServer|RedisClusterServer $server,
        private readonly string $prefix,
        private readonly int $database,
        private readonly bool $tagged = false,
    ) {
    }

    public function state(string $queue = 'default'): QueueState
    {
        $now = time();
        // One transaction, or a job that moves meanwhile would be seen twice or not at all.
        [$ready, $delayed, $reserved, $broken] = $this->redis()->multi()
            ->lRange($this->key($queue), 0, -1)
            ->zRange($this->key("{$queue}:delayed"), 0, -1, true)
            ->zRange($this->key("{$queue}:reserved"), 0, -1, true)
            ->lRange($this->key("{$queue}:broken"), 0, -1)
            ->exec();
        $ready = array_map(static fn (string $payload): array => self::entry($payload, $now), $ready);
        $later = [];
        foreach ($delayed as $payload => $due) {
            $due <= $now ? $ready[] = self::entry((string) $payload, (int) $due) : $later[] = self::entry((string) $payload, (int) $due);
        }
        $held = [];
        foreach ($reserved as $payload => $due) {
            $held[] = self::entry((string) $payload, (int) $due);
        }

        return new QueueState($ready, $later, $held, $broken);
    }

    public function makeDue(string $queue = 'default'): void
    {
        $this->rescore("{$queue}:delayed");
    }

    public function expireLeases(string $queue = 'default'): void
    {
        $this->rescore("{$queue}:reserved");
    }

    public function dropLeases(string $queue = 'default'): void
    {
        $this->redis()->del($this->key("{$queue}:reserved"));
    }

    public function setAttempts(int $attempts, string $queue = 'default'): void
    {
        foreach ($this->redis()->lRange($this->key($queue), 0, -1) as $i => $payload) {
            $payload = preg_replace('/"attempts":\d+/', '"attempts":' . $attempts, $payload);
            $this->redis()->lSet($this->key($queue), $i, $payload);
        }
    }

    public function push(string $payload, string $queue = 'default'): void
    {
        $this->redis()->rPush($this->key($queue), $payload);
        $this->redis()->rPush($this->key("{$queue}:notify"), '1');
    }

    /** Sets a key of another type under the name of a queue. */
    public function spoil(string $queue): void
    {
        $this->redis()->set($this->key($queue), 'text');
    }

    public function unspoil(string $queue): void
    {
        $this->redis()->del($this->key($queue));
    }

    public function leftovers(): array
    {
        $keys = $this->redis()->keys($this->prefix . 'queues:*');

        return array_values(array_filter($keys, static fn (string $key): bool => ! str_ends_with($key, ':notify')));
    }

    public function queues(): array
    {
        $names = preg_replace('/^' . preg_quote($this->prefix, '/') . 'queues:|:(delayed|reserved|broken)$|[{}]/', '', $this->leftovers());

        return array_values(array_unique($names));
    }

    public function cacheKeys(array $known = []): array
    {
        return array_values(array_filter(
            $this->redis()->keys($this->prefix . '*'),
            fn (string $key): bool => ! str_starts_with($key, $this->prefix . 'queues:'),
        ));
    }

    private function rescore(string $name): void
    {
        foreach ($this->redis()->zRange($this->key($name), 0, -1) as $member) {
            $this->redis()->zAdd($this->key($name), ['XX'], time() - 1, $member);
        }
    }

    private function key(string $name): string
    {
        return $this->prefix . 'queues:' . ($this->tagged ? preg_replace('/^[^:]+/', '{$0}', $name) : $name);
    }

    private function redis(): Redis|RedisCluster
    {
        if ($this->redis === null) {
            $this->redis = $this->server->client();
            $this->database === 0 || $this->redis->select($this->database);
        }

        return $this->redis;
    }

    /** @return array<string, mixed> */
    private static function entry(string $payload, int $due): array
    {
        return ['payload' => $payload, 'attempts' => json_decode($payload, true)['attempts'] ?? 0, 'due' => $due];
    }
}
