<?php

declare(strict_types=1);

namespace Kqueue\Tests;

/** Access to the queue on the server that bypasses Laravel: to inspect it, and to change its times. */
interface Backend
{
    public function state(string $queue = 'default'): QueueState;

    /** Makes every delayed job due now. */
    public function makeDue(string $queue = 'default'): void;

    /** Expires every reservation. */
    public function expireLeases(string $queue = 'default'): void;

    /** Removes the reservations, as if another worker had taken the jobs. */
    public function dropLeases(string $queue = 'default'): void;

    /** Sets the attempts of the waiting jobs. */
    public function setAttempts(int $attempts, string $queue = 'default'): void;

    /** Puts raw bytes on the queue. */
    public function push(string $payload, string $queue = 'default'): void;

    /** @return list<string> all that is left of the queue, by name */
    public function leftovers(): array;

    /** @return list<string> every queue that holds something */
    public function queues(): array;

    /**
     * The keys of the app's cache and its locks. The names of cache files are hashes: there, keys that are known are
     * returned by name, and all others as one word.
     *
     * @param list<string> $known
     * @return list<string>
     */
    public function cacheKeys(array $known = []): array;
}
