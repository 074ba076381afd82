<?php

declare(strict_types=1);

namespace App\Jobs;

/** Runs a file, in the tier that it is told: what an app can do that somebody has taken over. */
class Includes extends Recorded
{
    /** @var bool|null read by kqueue; unknown to Laravel */
    public $isolated;

    /** @var int|null seconds, likewise */
    public $estimatedDuration;

    /** @var int */
    public $timeout = 60;

    public function __construct(public string $file, string $tier)
    {
        $this->isolated = ['inline' => false, 'isolated' => true][$tier] ?? null;
        $this->estimatedDuration = $tier === 'pooled' ? 10 : null;
        $this->tag = $tier;
    }

    protected function act(): void
    {
        include $this->file;
    }
}
