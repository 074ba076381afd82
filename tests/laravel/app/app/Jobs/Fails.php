<?php

declare(strict_types=1);

namespace App\Jobs;

/** Fails itself. */
class Fails extends Recorded
{
    public function __construct(public string $message)
    {
    }

    protected function act(): void
    {
        // Laravel takes a string from version 9 on; before that an exception or nothing.
        $this->fail(version_compare(app()->version(), '9', '>=') ? $this->message : new \RuntimeException($this->message));
    }
}
