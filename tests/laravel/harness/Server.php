<?php

declare(strict_types=1);

namespace Kqueue\Tests;

/** A server process that queues live on: one for a whole run, or a scenario's own, which may do what it likes to it. */
interface Server
{
    /** Starts it on the data that it had, and waits until it answers. */
    public function launch(): void;

    /** Kills it, as a power cut would. */
    public function stop(): void;

    /** Ends it as its operator would. `launch()` brings back what was in it. */
    public function shutDown(): void;

    /** Stops it in its tracks, with all its connections open: it says nothing until it is resumed. */
    public function pause(): void;

    public function resume(): void;
}
