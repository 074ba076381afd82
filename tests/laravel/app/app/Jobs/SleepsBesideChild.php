<?php

declare(strict_types=1);

namespace App\Jobs;

use App\Journal;

/** Sleeps, and waits for output, while children of its own end. */
class SleepsBesideChild extends Recorded
{
    protected function act(): void
    {
        $child = proc_open(['sleep', '0.1'], [], $pipes);
        $began = hrtime(true);
        sleep(1);
        $whole = hrtime(true) - $began >= 1_000_000_000;
        proc_close($child);
        $quick = proc_open(['sleep', '0.1'], [], $pipes);
        $slow = proc_open(['sh', '-c', 'sleep 0.4; echo ready'], [1 => ['pipe', 'w']], $pipes);
        $read = [$pipes[1]];
        $none = null;
        $selected = stream_select($read, $none, $none, 5);
        Journal::write('slept', ['tag' => $this->tag, 'whole' => $whole, 'selected' => $selected, 'line' => fgets($pipes[1])]);
        proc_close($quick);
        proc_close($slow);
    }
}
