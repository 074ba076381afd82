<?php

declare(strict_types=1);

return [

    // The name of this app, as in /etc/kqueue/NAME.toml and kqueue@NAME.service. By default that of its directory; set
    // it where that differs, for example where a deploy makes a directory for each release.
    'app' => env('KQUEUE_APP'),

    // The program that `php artisan kqueue:work`, kqueue:status and the like run: a path, or a name that is looked up
    // in PATH.
    'binary' => env('KQUEUE_BINARY', 'kqueue'),

    // Whether kqueue is woken when a job is put into a database queue: true, false, or the path of the bell.sock in its
    // runtime_dir, where that is not the usual one.
    'doorbell' => env('KQUEUE_DOORBELL', true),

    // The dashboard: its path and its middleware. While APP_ENV is local everybody can see it, else users who pass the
    // gate `viewKqueue`: Gate::define('viewKqueue', fn ($user) => $user->is_admin). Users who also pass `actKqueue` can
    // pause queues and classes, cancel jobs, retry or forget failed ones, and more. null: there is no dashboard.
    // The pages come from kqueue, which has to accept the user that PHP runs as: the app's, or one in the group kqueue.
    'dashboard' => [
        'path' => env('KQUEUE_DASHBOARD', 'kqueue'),
        'middleware' => ['web'],
    ],

    // The control.sock in its runtime_dir, where that is not the usual one.
    'control' => env('KQUEUE_CONTROL'),

    // Settings of kqueue, as in its config file. In order of precedence: what a job declares, the command line,
    // /etc/kqueue/NAME.toml, these. `queue:restart` applies changes. What is needed before PHP has booted (path, php,
    // connection, launcher …) and what limits the app (pool_max_size, isolated_memory_cap …) can only be set by root,
    // in /etc/kqueue/NAME.toml. `kqueue config example` describes each setting; these are the defaults.
    'settings' => [
        // 'queues' => ['high', 'default'],
        // 'weights' => ['high:5', 'default:2'],

        // 'default_tier' => 'auto',
        // 'inline_max_duration' => '1s',
        // 'pooled_max_duration' => '30s',
        // 'pool_min_idle' => 2,
        // 'idle_after' => '10min',
        // 'pool_size' => 10,
        // 'max_concurrent_inline' => 100,
        // 'max_concurrent_pooled' => 20,
        // 'max_waiting' => 256,
        // 'max_waiting_bytes' => '64M',

        // 'tries' => 1,
        // 'timeout' => '60s',
        // 'backoff' => 0,
        // 'force' => false,

        // 'worker_max_jobs' => 1000,
        // 'worker_max_time' => '1h',
        // 'worker_memory' => 128,
        // 'isolated_memory_max' => 512,

        // 'crash' => 'replay',
        // 'pop' => 'safe',
        // 'ack' => 'auto',
        // 'renew' => true,
        // 'horizon' => true,
        // 'property_hints' => true,
        // 'timeout_grace' => '3s',
    ],

];
