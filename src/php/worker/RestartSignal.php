<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Illuminate\Cache\Repository;

/**
 * The cache of the worker loop: the app's own, except for the key of `queue:restart`.
 */
final class RestartSignal extends Repository
{
    private const KEY = 'illuminate:queue:restart';

    public static bool $raised = false;

    public static bool $installed = false;

    public static function over(Repository $cache): self
    {
        $signal = new self($cache->getStore());

        if ($events = $cache->getEventDispatcher()) {
            $signal->setEventDispatcher($events);
        }

        self::$installed = true;

        return $signal;
    }

    public function get($key, $default = null): mixed
    {
        return $key === self::KEY ? (self::$raised ? 1 : null) : parent::get($key, $default);
    }
}
