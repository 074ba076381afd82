<?php

declare(strict_types=1);

namespace App\Jobs;

use App\Journal;
use Random\Randomizer;

/** Draws random numbers in every way there is. */
class Draws extends Recorded
{
    protected function act(): void
    {
        $own = app()->bound('own.random') ? app('own.random') : null;
        $letters = range('a', 'z');
        shuffle($letters);
        Journal::write('drawn', ['numbers' => array_filter([
            'lcg_value' => lcg_value(),
            'uniqid' => strrchr(uniqid('', true), '.') . lcg_value(),
            'mt_rand' => mt_rand(),
            'rand' => rand(),
            'shuffle' => implode('', $letters),
            'engine' => $own instanceof Randomizer ? $own->getInt(0, PHP_INT_MAX) : null,
        ])]);
    }
}
