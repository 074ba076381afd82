<?php

declare(strict_types=1);

namespace App\Jobs;

use Kqueue\CpuWeight;
use Kqueue\EstimatedDuration;
use Kqueue\IoWeight;
use Kqueue\Isolated;
use Kqueue\MaxMemory;
use Kqueue\MaxTasks;
use Kqueue\Priority;
use Kqueue\Timeout;

/** Says everything by attributes. */
#[Isolated]
#[MaxMemory(96)]
#[EstimatedDuration(0.5)]
#[Priority(7)]
#[MaxTasks(64)]
#[CpuWeight(50)]
#[IoWeight(20)]
#[Timeout(33)]
class Annotated extends Recorded
{
    protected function act(): void
    {
    }
}
