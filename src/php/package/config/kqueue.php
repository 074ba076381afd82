<?php

declare(strict_types=1);

return [

    // The name of this app: of /etc/kqueue/NAME.toml and kqueue@NAME.service. Without it, that of its directory; say it
    // where that is not so, as where a deploy makes a directory for each release.
    'app' => env('KQUEUE_APP'),

    // The program that `php artisan kqueue:work` becomes, and that kqueue:status and the like ask: a path, or a name that is looked up in PATH.
    'binary' => env('KQUEUE_BINARY', 'kqueue'),

    // Whether kqueue is woken when a job is put into a database queue: true, false, or the path of the bell.sock in its
    // runtime_dir, where that is not the usual one.
    'doorbell' => env('KQUEUE_DOORBELL', true),

    // The pages that show what kqueue does: below which path, and behind what. While APP_ENV is local everybody sees them, else
    // whom the gate `viewKqueue` lets in: Gate::define('viewKqueue', fn ($user) => $user->is_admin). Who passes `actKqueue` too
    // pauses queues and classes there, cancels jobs, retries or forgets failed ones, and more. null: there are none.
    // They are kqueue's own, asked for as the user that PHP runs as: the app's, or a member of the group kqueue.
    'dashboard' => [
        'path' => env('KQUEUE_DASHBOARD', 'kqueue'),
        'middleware' => ['web'],
    ],

    // The control.sock in its runtime_dir, where that is not the usual one.
    'control' => env('KQUEUE_CONTROL'),

    // Settings of kqueue, as in its config file. What a job declares goes before all of them, then the command line, then
    // /etc/kqueue/NAME.toml, then these. A deploy's `queue:restart` puts new ones in force. What is needed before PHP
    // has booted (path, php, connection, launcher …) and what bounds the app (pool_max_size, isolated_memory_cap …) is root's
    // to say, there alone. `kqueue config example` tells what each of them means; these are the defaults.
    'settings' => [
        // 'queues' => ['high', 'default'],

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
