<?php

declare(strict_types=1);

namespace App\Jobs;

/** Dies of a signal, as if it had crashed or been killed. */
class KillsItself extends Recorded
{
    public function __construct(public int $signal, public int $times = PHP_INT_MAX)
    {
    }

    protected function act(): void
    {
        if ($this->attempts() <= $this->times) {
            // A fault leaves no core behind: it is on purpose.
            posix_setrlimit(POSIX_RLIMIT_CORE, 0, 0);
            posix_kill(getmypid(), $this->signal);
            // SIGKILL and SIGSEGV do not return; anything else ends here.
            sleep(1);
        }
    }
}
