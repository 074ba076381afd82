<?php

declare(strict_types=1);

namespace App\Jobs;

/** A job of an app that had properties of these names before, with meanings of its own. */
class Meanings extends Recorded
{
    /** @var int so many things at a time */
    public $maxMemory = 2;

    /** @var string */
    public $priority = 'high';

    /** @var string a tenant */
    public $isolated = 'tenant-7';

    /** @var list<int> */
    public $maxTasks = [1, 2];

    protected function act(): void
    {
        \App\Journal::write('limit', ['limit' => ini_get('memory_limit'), 'tag' => $this->tag]);
        $hoard = str_repeat('x', 24 << 20);
    }
}
