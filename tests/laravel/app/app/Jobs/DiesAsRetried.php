<?php

declare(strict_types=1);

namespace App\Jobs;

/** Fails itself; while a file is there, the process that asks until when it could be tried dies, and the file goes. */
class DiesAsRetried extends Fails
{
    public function __construct(private string $file)
    {
        parent::__construct('dies');
    }

    public function retryUntil(): int
    {
        if (@unlink($this->file)) {
            posix_kill(getmypid(), SIGKILL);
        }

        return time() + 600;
    }
}
