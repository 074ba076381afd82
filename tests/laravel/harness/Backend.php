<?php

declare(strict_types=1);

namespace Kqueue\Tests;

/** The queue as the server holds it, past Laravel: to look at, and to turn the clock of. */
interface Backend
{
    public function state(string $queue = 'default'): QueueState;

    /** Makes every delayed job due now. */
    public function makeDue(string $queue = 'default'): void;

    /** Makes every reservation one that has run out. */
    public function expireLeases(string $queue = 'default'): void;

    /** Takes the reservations away, as if another worker had taken the jobs. */
    public function dropLeases(string $queue = 'default'): void;

    /** Says of the waiting jobs that they have had so many attempts. */
    public function setAttempts(int $attempts, string $queue = 'default'): void;

    /** Puts bytes on the queue that no Laravel made. */
    public function push(string $payload, string $queue = 'default'): void;

    /** @return list<string> all that is left of the queue, by name */
    public function leftovers(): array;

    /** @return list<string> every queue that holds something */
    public function queues(): array;

    /**
     * The keys of the app's cache and its locks. A cache in files hides them: it has the names of those that are known, and
     * one word for each other.
     *
     * @param list<string> $known
     * @return list<string>
     */
    public function cacheKeys(array $known = []): array;
}
