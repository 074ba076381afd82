<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Closure;

/** Passes the orders of Horizon's commands to a master or a supervisor on to the runtime. */
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
