<?php

declare(strict_types=1);

$store = env('CACHE_STORE', 'file');

return [
    // Never `array`: signals of the queue's commands travel through the cache.
    'default' => $store,
    'stores' => [
        'file' => ['driver' => 'file', 'path' => storage_path('framework/cache/data')],
        'redis' => ['driver' => 'redis', 'connection' => 'cache', 'lock_connection' => 'default'],
        'database' => ['driver' => 'database', 'table' => 'cache', 'connection' => null, 'lock_connection' => null],
    ],
    'prefix' => 'cache',
];
