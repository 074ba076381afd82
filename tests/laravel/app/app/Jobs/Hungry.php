<?php

declare(strict_types=1);

namespace App\Jobs;

/** Takes more memory than it says it needs at the most. */
class Hungry extends EatsMemory
{
    /** @var bool read by kqueue; unknown to Laravel */
    public $isolated = true;

    /** @var int MB, likewise */
    public $maxMemory = 64;

    protected function act(): void
    {
        if ($this->how === 'heap') {
            // Without a limit of its own: the one that kqueue has set is to hold.
            $hoard = str_repeat('x', $this->mb << 20);
        } else {
            parent::act();
        }
    }
}
