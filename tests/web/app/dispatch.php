<?php

/** Dispatches jobs: CLASS or CLASS=COUNT or CLASS=COUNT@QUEUE, each with tags, as a package of the app's might give them; `broken` is no job. */

declare(strict_types=1);

use Illuminate\Contracts\Console\Kernel;
use Illuminate\Queue\Queue;

require __DIR__ . '/vendor/autoload.php';
$app = require __DIR__ . '/bootstrap/app.php';
$app->make(Kernel::class)->bootstrap();
Queue::createPayloadUsing(static fn (?string $connection, ?string $queue, array $payload): array => [
    'tags' => ['shop:eu', 'order:' . ($payload['data']['command']->number + 4_100)],
]);
foreach (array_slice($argv, 1) as $order) {
    [$what, $queue] = explode('@', $order) + [1 => 'default'];
    [$class, $count] = explode('=', $what) + [1 => '1'];
    for ($number = 1; $number <= (int) $count; $number++) {
        $class = ltrim($class);
        if ($class === 'broken') {
            $app['queue']->connection()->pushRaw("{\"broken\": {$number}", $queue);
            continue;
        }
        $app['queue']->connection()->push(new ("App\\Jobs\\{$class}")($number), '', $queue);
    }
}
