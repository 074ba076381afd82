<?php

declare(strict_types=1);

namespace App\Jobs;

/** Prints in every way there is, and each time says which job it is. */
class Prints extends Recorded
{
    /** @var bool|null read by kqueue; unknown to Laravel */
    public $isolated;

    /** @var float|null seconds; likewise */
    public $estimatedDuration;

    /** @param bool $briefly one line only, and at once */
    public function __construct(public int $ms = 0, public bool $briefly = false)
    {
    }

    protected function act(): void
    {
        $uuid = $this->job->uuid();
        echo "echo {$uuid}\n";

        if ($this->briefly) {
            return;
        }

        $this->ms && usleep($this->ms * 1000);
        fwrite(STDERR, "stderr {$uuid}\n");
        fwrite(STDOUT, "stdout {$uuid}\n");
        error_log("error_log {$uuid}");
        file_put_contents('php://stderr', "php-stderr {$uuid}\n");
        isset($GLOBALS['early']) && fwrite($GLOBALS['early'], "early {$uuid}\n");
        // Gone before anybody can ask who it was.
        exec("echo exec {$uuid} >&2");
        $child = proc_open(['sh', '-c', "echo proc_open-1 {$uuid}; echo proc_open-2 {$uuid} >&2"], [['file', '/dev/null', 'r']], $pipes);
        proc_close($child);
        echo "half {$uuid}";
    }
}
