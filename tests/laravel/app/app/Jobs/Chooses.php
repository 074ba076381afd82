<?php

declare(strict_types=1);

namespace App\Jobs;

/** Each says for itself where it is to run, by a method: what that returns stands in no payload. */
class Chooses extends Recorded
{
    public function __construct(public ?bool $alone)
    {
    }

    public function isolated(): ?bool
    {
        return $this->alone;
    }

    protected function act(): void
    {
    }
}
