<?php

declare(strict_types=1);

namespace App\Jobs;

use Illuminate\Bus\Batchable;

/** The job class that the payload fixtures name: its properties are theirs. */
class T extends Recorded
{
    use Batchable;

    /** @var int */
    public $timeout = 33;

    /** @var bool */
    public $isolated = true;

    /** @var int */
    public $maxMemory = 256;

    /** @var string */
    public $mode = 'ok';

    protected function act(): void
    {
    }
}
