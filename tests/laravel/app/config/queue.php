<?php

declare(strict_types=1);

$retryAfter = (int) env('QUEUE_RETRY_AFTER', 90);

return [
    'default' => env('QUEUE_CONNECTION', 'database'),
    'connections' => [
        'sync' => ['driver' => 'sync'],
        'database' => [
            'driver' => 'database',
            'connection' => null,
            'table' => 'jobs',
            'queue' => 'default',
            'retry_after' => $retryAfter,
            'after_commit' => false,
        ],
        'beanstalkd' => [
            'driver' => 'beanstalkd',
            'host' => '127.0.0.1',
            'port' => (int) env('BEANSTALKD_PORT', 11300),
            'queue' => 'default',
            'retry_after' => $retryAfter,
            'block_for' => (int) env('QUEUE_BLOCK_FOR', 0),
            'after_commit' => false,
        ],
        'own' => [
            'driver' => 'own',
            'queue' => 'default',
            'retry_after' => $retryAfter,
        ],
        'redis' => [
            'driver' => 'redis',
            'connection' => 'default',
            'queue' => 'default',
            'retry_after' => $retryAfter,
            'block_for' => env('QUEUE_BLOCK_FOR') === null ? null : (int) env('QUEUE_BLOCK_FOR'),
            'migration_batch_size' => (int) env('QUEUE_MIGRATION_BATCH_SIZE', -1),
            'after_commit' => false,
        ],
        'sqs' => [
            'driver' => 'sqs',
            'key' => env('AWS_ACCESS_KEY_ID'),
            'secret' => env('AWS_SECRET_ACCESS_KEY'),
            'region' => env('AWS_DEFAULT_REGION', 'us-east-1'),
            'endpoint' => env('SQS_ENDPOINT'),
            'prefix' => env('SQS_PREFIX', ''),
            'suffix' => env('SQS_SUFFIX', ''),
            'queue' => 'default',
            'after_commit' => false,
            'overflow' => ['enabled' => (bool) env('SQS_OVERFLOW', false), 'always' => true, 'store' => null, 'delete_after_processing' => true],
        ],
    ],
    'batching' => ['database' => env('DB_CONNECTION', 'sqlite'), 'table' => 'job_batches'],
    'failed' => [
        'driver' => env('FAILED_DRIVER', 'database-uuids'),
        'database' => env('DB_CONNECTION', 'sqlite'),
        'table' => env('FAILED_TABLE', 'failed_jobs'),
        'path' => storage_path('framework/failed-jobs.json'),
    ],
];
