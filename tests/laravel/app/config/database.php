<?php

declare(strict_types=1);

$redis = [
    'host' => env('REDIS_HOST', '127.0.0.1'),
    'username' => null,
    'password' => env('REDIS_PASSWORD'),
    'port' => (int) env('REDIS_PORT', 6379),
    'database' => (int) env('REDIS_DB', 0),
];

return [
    'default' => 'sqlite',
    'connections' => [
        'sqlite' => [
            'driver' => 'sqlite',
            'url' => null,
            'database' => env('DB_DATABASE', database_path('database.sqlite')),
            'prefix' => '',
            'foreign_key_constraints' => true,
            'busy_timeout' => 5000,
        ],
    ],
    'migrations' => 'migrations',
    'redis' => [
        'client' => 'phpredis',
        'options' => ['cluster' => 'redis', 'prefix' => env('REDIS_PREFIX', '')],
        'default' => $redis,
        'cache' => $redis,
    ],
];
