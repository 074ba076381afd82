<?php

declare(strict_types=1);

namespace Kqueue\Tests;

/** A server process that stores queues: shared by a run, or a scenario's own, which may stop or break it. */
interface Server
{
    /** Starts it on the data that it had, and waits until it answers. */
    public function launch(): void;

    /** Kills it, as a power cut would. */
    public function stop(): void;

    /** Shuts it down in order. `launch()` restores its data. */
    public function shutDown(): void;

    /** Suspends it with all its connections open: it does not reply until it is resumed. */
    public function pause(): void;

    public function resume(): void;
}
