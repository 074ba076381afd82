<?php

declare(strict_types=1);

namespace App\Jobs;

use PDO;

/**
 * Waits inside one C call until the harness gives a lock free: SQLite's own loop for a busy database.
 *
 * A signal cuts short a sleep of that loop and no more, so PHP's handlers cannot run meanwhile: the same
 * as a query that never ends. (flock() would not do: PHP lets SIGALRM, alone of all signals, interrupt
 * system calls.)
 */
class Blocks extends Recorded
{
    public function __construct(public string $file)
    {
    }

    protected function act(): void
    {
        $pdo = new PDO('sqlite:' . $this->file, null, null, [PDO::ATTR_TIMEOUT => 60]);
        $pdo->exec('begin immediate');
        $pdo->exec('rollback');
    }
}
