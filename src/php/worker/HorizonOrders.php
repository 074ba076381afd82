<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Closure;

/** What Horizon's commands tell a master or a supervisor is asked of the runtime. */
trait HorizonOrders
{
    /** @var Closure(string): void */
    private Closure $ask;

    public function pause()
    {
        ($this->ask)('pause');
    }

    public function continue()
    {
        ($this->ask)('continue');
    }

    public function restart()
    {
        ($this->ask)('restart');
    }
}
