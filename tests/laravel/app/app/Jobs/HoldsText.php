<?php

declare(strict_types=1);

namespace App\Jobs;

use App\Journal;

/** Carries text and writes down what arrived of it. */
class HoldsText extends Recorded
{
    public function __construct(public string $text)
    {
    }

    protected function act(): void
    {
        Journal::write('text', ['sha1' => sha1($this->text), 'length' => strlen($this->text)]);
    }
}
