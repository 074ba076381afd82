<?php

declare(strict_types=1);

namespace App\Jobs;

/** A job that goes on until the harness makes a file, in the tier that it is told. */
class Waits extends Recorded
{
    /** @var bool|null read by kqueue; unknown to Laravel */
    public $isolated;

    /** @var int|null seconds, likewise */
    public $estimatedDuration;

    public function __construct(public string $file, string $tier)
    {
        $this->isolated = ['inline' => false, 'isolated' => true][$tier] ?? null;
        $this->estimatedDuration = $tier === 'pooled' ? 10 : null;
        $this->timeout = 600;
        $this->tag = $tier;
    }

    protected function act(): void
    {
        do {
            usleep(20_000);
            clearstatcache();
        } while (! file_exists($this->file));
    }
}
