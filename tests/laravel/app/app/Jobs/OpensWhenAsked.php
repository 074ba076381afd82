<?php

declare(strict_types=1);

namespace App\Jobs;

use Redis;

/** Looks its priority up in Redis, by a client that it keeps. */
class OpensWhenAsked extends UsesOwn
{
    public static function priority(): int
    {
        self::open();

        return 5;
    }

    protected function act(): void
    {
        self::open();
        parent::act();
    }

    private static function open(): void
    {
        if (! isset($GLOBALS['own.redis'])) {
            $GLOBALS['own.redis'] = new Redis();
            $GLOBALS['own.redis']->connect('127.0.0.1', (int) env('REDIS_PORT'));
        }
    }
}
