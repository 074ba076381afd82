<?php

declare(strict_types=1);

namespace KQueue\Contracts;

/** A job of the PHP KQueue. */
interface KQueueJobInterface
{
    public function handle(): void;

    /** Seconds. */
    public function getTimeout(): int;

    /** MB. */
    public function getMaxMemory(): int;

    /** True: in a process of its own; false: inline; null: kqueue decides. */
    public function isIsolated(): ?bool;

    public function getPriority(): int;

    public function getJobId(): string;
}
