<?php

declare(strict_types=1);

namespace App\Jobs;

use App\Journal;
use Throwable;

/** Uses the Redis client that the app has opened by itself, and says how often it had another's answer. */
class UsesOwn extends Recorded
{
    public function __construct(public string $name = 'redis')
    {
    }

    protected function act(): void
    {
        $redis = $this->name === 'managed' ? app('own.managed')[1] : ($GLOBALS['own.redis'] ?? app("own.{$this->name}"));
        $wrong = 0;
        for ($i = 0; $i < 20; $i++) {
            $key = "{$this->job->uuid()}:{$i}";
            try {
                $redis->set($key, $key);
                $found = $redis->get($key);
            } catch (Throwable $e) {
                $found = $e->getMessage();
            }
            $wrong += $found === $key ? 0 : 1;
            usleep(300);
        }
        if ($this->name === 'managed') {
            [$cache, , $database] = app('own.managed');
            $wrong += $cache->get('own') === 'cached' && $database->select('select 1 as one')[0]->one == 1 ? 0 : 1;
        }
        Journal::write('used', ['wrong' => $wrong]);
    }
}
