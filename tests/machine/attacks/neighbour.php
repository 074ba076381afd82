<?php

/**
 * The runtime of another app: connects now and then, lists, and prints how long each took in milliseconds, and how often
 * it got no answer.
 *
 * usage: neighbour.php COUNT
 */

declare(strict_types=1);

use Kqueue\Tests\Machine\Attacks\Client;

require __DIR__ . '/Client.php';

$times = [];
$lost = 0;
$client = new Client();
for ($n = 0; $n < (int) $argv[1]; $n++) {
    if ($n % 5 === 0) {
        $client = new Client();
    }
    $from = hrtime(true);
    $answer = $client->ask('list');
    $times[] = (hrtime(true) - $from) / 1e6;
    if (! isset($answer['units'])) {
        $lost++;
        $client = new Client();
    }
}
sort($times);
echo json_encode(['median' => $times[intdiv(count($times), 2)], 'slowest' => end($times), 'lost' => $lost]), "\n";
