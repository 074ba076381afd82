<?php

declare(strict_types=1);

return [
    'app' => 'shop',
    'control' => env('KQUEUE_CONTROL'),
    // The app has no group of middleware.
    'dashboard' => ['path' => 'kqueue', 'middleware' => []],
];
