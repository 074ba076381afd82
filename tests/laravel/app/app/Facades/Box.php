<?php

declare(strict_types=1);

namespace App\Facades;

use Illuminate\Support\Facades\Facade;

/** Something that the container makes anew for each job. */
class Box extends Facade
{
    protected static function getFacadeAccessor(): string
    {
        return 'scoped.box';
    }
}
