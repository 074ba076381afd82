<?php

/**
 * The runtime of an app that somebody has taken over: makes as many scopes as it gets, and prints how many these were
 * and what came after the last. Stays until it is ended, so that what it has made stays, too.
 *
 * usage: scopes.php FILE
 */

declare(strict_types=1);

use Kqueue\Tests\Machine\Attacks\Client;

require __DIR__ . '/Client.php';

$client = new Client();
for ($made = 0; $made < 1000; $made++) {
    $child = pcntl_fork();
    if ($child === 0) {
        pcntl_exec('/bin/sleep', ['300']);
    }
    $answer = $client->ask('scope', ['scope' => "s-{$made}", 'pid' => $child, 'limits' => []]);
    if ($answer === null || isset($answer['error'])) {
        break;
    }
}
file_put_contents("{$argv[1]}.new", json_encode(['made' => $made, 'answer' => $answer]));
rename("{$argv[1]}.new", $argv[1]);
sleep(300);
