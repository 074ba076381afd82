<?php

declare(strict_types=1);

namespace Kqueue\Tests;

use Illuminate\Cache\RedisStore;
use Illuminate\Contracts\Foundation\Application;
use RecursiveDirectoryIterator;
use RecursiveIteratorIterator;

/** What the app's cache holds, past Laravel: values, counters and locks alike. */
final class CacheKeys
{
    /**
     * The keys that are there, by the names the app knows them under. The file store keeps only a hash of a key:
     * it is given its name back if it is one of those that are asked for.
     *
     * @param list<string> $known
     * @return list<string>
     */
    public static function of(Sandbox $sandbox, Application $laravel, array $known = []): array
    {
        $store = $laravel['cache']->store()->getStore();
        $keys = $store instanceof RedisStore
            ? self::redis($sandbox, $store->getPrefix())
            : self::files($laravel['config']['cache.stores.file.path'], $known);
        sort($keys);

        return $keys;
    }

    /** @return list<string> */
    private static function redis(Sandbox $sandbox, string $prefix): array
    {
        $redis = $sandbox->redis->client();
        $redis->select((int) $sandbox->env('REDIS_DB', '0'));
        $prefix = $sandbox->prefix . $prefix;

        return array_map(static fn (string $key): string => substr($key, strlen($prefix)), $redis->keys($prefix . '*'));
    }

    /**
     * @param list<string> $known
     * @return list<string>
     */
    private static function files(string $dir, array $known): array
    {
        $names = [];
        foreach ($known as $key) {
            $names[sha1($key)] = $key;
            // How Laravel 13 calls a lock.
            $names[sha1("file-store-lock:{$key}")] = $key;
        }
        $keys = [];
        foreach (new RecursiveIteratorIterator(new RecursiveDirectoryIterator($dir, RecursiveDirectoryIterator::SKIP_DOTS)) as $file) {
            // What has run out stays until somebody asks for it.
            if ((int) substr((string) file_get_contents($file->getPathname()), 0, 10) > time()) {
                $keys[] = $names[$file->getFilename()] ?? $file->getFilename();
            }
        }

        return $keys;
    }
}
