<?php

declare(strict_types=1);

namespace App\Providers;

use Illuminate\Support\Facades\Cache;
use Illuminate\Support\Facades\DB;
use Illuminate\Support\Facades\Log;
use Illuminate\Support\Facades\Redis as Managed;
use Illuminate\Support\ServiceProvider;
use Redis;

/** Opens things while the app boots, as named in OPENS, and keeps them in the container. */
class OpensServiceProvider extends ServiceProvider
{
    public function register(): void
    {
        $this->named('register:');
    }

    public function boot(): void
    {
        $this->named('');
    }

    private function named(string $prefix): void
    {
        foreach (array_filter(explode(',', (string) env('OPENS', ''))) as $name) {
            if (str_starts_with($name, $prefix) && ! str_contains($name = substr($name, strlen($prefix)), ':')) {
                $this->app->instance("own.{$name}", $this->open($name));
            }
        }
    }

    private function open(string $name): mixed
    {
        return match ($name) {
            'redis', 'persistent' => self::redis($name === 'persistent'),
            'datagram' => stream_socket_client('udp://127.0.0.1:8125'),
            'pair' => stream_socket_pair(STREAM_PF_UNIX, STREAM_SOCK_STREAM, 0),
            'file' => fopen(base_path('artisan'), 'r'),
            'log' => fopen(storage_path('logs/own.log'), 'a'),
            'lock' => self::lock(),
            'pdo' => new \PDO('sqlite:' . database_path('database.sqlite'), options: [\PDO::ATTR_PERSISTENT => true]),
            'children' => [proc_open(['cat'], [['pipe', 'r']], $pipes), $pipes],
            'epoll' => \FFI::cdef('int epoll_create1(int flags);')->epoll_create1(0),
            // What Laravel's own managers hold, which can be closed.
            'managed' => self::managed(),
            'random' => self::random(),
        };
    }

    private static function redis(bool $persistent): Redis
    {
        $redis = new Redis();
        $persistent ? $redis->pconnect('127.0.0.1', (int) env('REDIS_PORT')) : $redis->connect('127.0.0.1', (int) env('REDIS_PORT'));
        $redis->select(5);

        return $redis;
    }

    /** @return resource */
    private static function lock()
    {
        $file = fopen(storage_path('logs/lock'), 'a');
        flock($file, LOCK_SH);

        return $file;
    }

    /** @return list<mixed> */
    private static function managed(): array
    {
        Log::info('opened while the app boots');
        Cache::put('own', 'cached', 60);
        Managed::set('own', 'kept');

        return [Cache::store(), Managed::connection(), DB::connection(), DB::table('jobs')->count()];
    }

    private static function random(): object
    {
        mt_srand(42);
        lcg_value();

        return class_exists('Random\Randomizer') ? new \Random\Randomizer(new \Random\Engine\Xoshiro256StarStar(42)) : new \stdClass();
    }
}
