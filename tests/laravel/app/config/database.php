<?php

declare(strict_types=1);

$redis = [
    'host' => env('REDIS_HOST', '127.0.0.1'),
    'username' => null,
    'password' => env('REDIS_PASSWORD'),
    'port' => (int) env('REDIS_PORT', 6379),
    'database' => (int) env('REDIS_DB', 0),
];

// Two ways to say of one connection what is otherwise said of all of them.
if (env('REDIS_CONNECTION_PREFIX') !== null) {
    $redis['prefix'] = env('REDIS_CONNECTION_PREFIX');
}
if (env('REDIS_CONNECTION_OPTIONS_PREFIX') !== null) {
    $redis['options'] = ['prefix' => env('REDIS_CONNECTION_OPTIONS_PREFIX')];
}

$options = ['cluster' => 'redis', 'prefix' => env('REDIS_PREFIX', '')];
if (env('REDIS_SERIALIZER') !== null) {
    $options['serializer'] = (int) env('REDIS_SERIALIZER');
}

// What the two kinds of servers have in common.
$server = [
    'url' => null,
    'host' => env('DB_HOST', '127.0.0.1'),
    'port' => env('DB_PORT'),
    'database' => env('DB_DATABASE'),
    'username' => env('DB_USERNAME'),
    'password' => env('DB_PASSWORD'),
    'prefix' => env('DB_PREFIX', ''),
];

// A cluster for the queue, and for what else uses its connection.
$nodes = [];
foreach (array_filter(explode(',', (string) env('REDIS_NODES'))) as $node) {
    [$host, $port] = explode(':', $node);
    $nodes[] = ['host' => $host, 'port' => (int) $port];
}
$ofQueue = $nodes === [] ? ['default' => $redis] : ['clusters' => ['default' => $nodes]];

return [
    'default' => env('DB_CONNECTION', 'sqlite'),
    'connections' => [
        'sqlite' => [
            'driver' => 'sqlite',
            'url' => null,
            'database' => env('DB_CONNECTION', 'sqlite') === 'sqlite' ? env('DB_DATABASE', database_path('database.sqlite')) : database_path('database.sqlite'),
            'prefix' => '',
            'foreign_key_constraints' => true,
            'busy_timeout' => 5000,
            'transaction_mode' => env('DB_TRANSACTION_MODE', 'DEFERRED'),
        ],
        // Laravel has a driver of this name from 11 on.
        'mariadb' => $server + [
            'driver' => 'mysql',
            'unix_socket' => '',
            'charset' => 'utf8mb4',
            'collation' => 'utf8mb4_unicode_ci',
            'strict' => true,
            'engine' => null,
        ],
        'pgsql' => $server + [
            'driver' => 'pgsql',
            'charset' => 'utf8',
            'search_path' => 'public',
            'schema' => 'public',
            'sslmode' => 'prefer',
        ],
    ],
    'migrations' => 'migrations',
    'redis' => [
        'client' => env('REDIS_CLIENT', 'phpredis'),
        'options' => $options,
        'cache' => $redis,
    ] + $ofQueue,
];
