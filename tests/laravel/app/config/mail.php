<?php

declare(strict_types=1);

return [
    'default' => 'array',
    'mailers' => ['array' => ['transport' => 'array']],
    'from' => ['address' => 'app@example.com', 'name' => 'App'],
];
