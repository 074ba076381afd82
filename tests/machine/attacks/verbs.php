<?php

/**
 * Asks for everything there is, with arguments of every kind, and writes down what came of it.
 *
 * usage: verbs.php FILE, or included with $out
 */

declare(strict_types=1);

use Kqueue\Tests\Machine\Attacks\Client;

require_once __DIR__ . '/Client.php';

$answers = [];
$client = new Client();
$ask = static function (string $verb, array $arguments = []) use (&$client, &$answers): void {
    $answer = $client->ask($verb, $arguments);
    $answers[] = [$verb, $arguments, $answer];
    if ($answer === null) {
        $client = new Client();
    }
};
$main = static fn (string $unit): int => (int) shell_exec('systemctl show -P MainPID ' . escapeshellarg($unit));
$child = static fn (): int => (int) shell_exec('sleep 60 >/dev/null 2>&1 & echo $!');

foreach (['list', 'purpose', 'stop', 'limit', 'reboot', ''] as $verb) {
    $ask($verb);
}
$own = getmypid();
foreach ([0, -1, 1, 2, $main('kqueue@shop.service'), $main('kqueue.service'), $main('redis-server.service'), $own, posix_getppid(), 2 ** 31 - 1, -2 ** 31, 2 ** 40, '1', null, 1.5] as $i => $pid) {
    $ask('scope', ['scope' => "p{$i}", 'pid' => $pid, 'limits' => []]);
}
$one = $child();
foreach (['..', 'a b', 'a/b', 'A', 'a.service', "x\n", '', str_repeat('a', 41), 'a%n', 'é', '-.', 'a-b-c', 7] as $name) {
    $ask('scope', ['scope' => $name, 'pid' => $one, 'limits' => []]);
}
foreach ([['memory_max' => 0], ['memory_max' => 2 ** 60], ['memory_max' => -1], ['tasks_max' => 100_000], ['cpu_weight' => 0], ['runtime_max_usec' => 0], ['nope' => 1], ['memory_max' => 1e30], ['memory_max' => '1']] as $i => $limits) {
    $ask('scope', ['scope' => "l{$i}", 'pid' => $child(), 'limits' => $limits]);
}
foreach ([['worker' => 0], ['worker' => 1], ['worker' => 4294967295], ['worker' => -1], ['scope' => 'nope'], ['scope' => '../../ssh'], ['worker' => '1'], 'x'] as $unit) {
    $ask('kill', ['unit' => $unit]);
    $ask('watch', ['units' => [$unit]]);
}
foreach ([0, 1, 21, -1, '1'] as $worker) {
    $ask('start', ['worker' => $worker]);
}
$ask('tell', ['message' => "hello\n<0>forged\x1b[31m", 'priority' => 0, 'fields' => ['_UID' => '0']]);
file_put_contents($out ?? $argv[1], json_encode($answers, JSON_PARTIAL_OUTPUT_ON_ERROR));
