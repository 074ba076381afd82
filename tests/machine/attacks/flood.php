<?php

/**
 * The runtime of an app that somebody has taken over: asks for as much as it can on as many connections as it gets,
 * until it is ended.
 *
 * usage: flood.php list|noread|watch|tell|start|purpose FILE   FILE is there once the flood is under way
 */

declare(strict_types=1);

use Kqueue\Tests\Machine\Attacks\Client;

require __DIR__ . '/Client.php';

[, $mode, $file] = $argv;
$number = 0;
$request = static function () use ($mode, &$number): string {
    $id = ++$number;

    return match ($mode) {
        'list', 'noread' => Client::frame($id, 'list'),
        'watch' => Client::frame($id, 'watch', ['units' => array_map(static fn (int $n): array => ['scope' => "w-{$id}-{$n}"], range(1, 200))]),
        'tell' => Client::frame($id, 'tell', ['message' => str_repeat('x', 1000), 'priority' => 3, 'fields' => []]),
        'start' => Client::frame($id, 'start', ['worker' => 1 + $id % 20]),
        'purpose' => Client::frame($id, 'purpose'),
    };
};
// A list of something.
$client = new Client();
for ($n = 0; in_array($mode, ['list', 'noread'], true) && $n < 60; $n++) {
    $child = pcntl_fork();
    if ($child === 0) {
        pcntl_exec('/bin/sleep', ['300']);
    }
    $client->ask('scope', ['scope' => "f-{$n}", 'pid' => $child, 'limits' => []]);
}
unset($client);
$streams = $unsent = [];
while (true) {
    while (count($streams) < 14 && ($stream = @stream_socket_client('unix://' . Client::SOCKET, $code, $text, 1))) {
        stream_set_blocking($stream, false);
        $streams[(int) $stream] = $stream;
        $unsent[(int) $stream] = '';
    }
    $read = $mode === 'noread' ? [] : $streams;
    $write = $streams;
    $none = null;
    @stream_select($read, $write, $none, 0, 100_000);
    foreach ($read as $id => $stream) {
        if (in_array(fread($stream, 1 << 20), ['', false], true) && feof($stream)) {
            unset($streams[(int) $stream], $unsent[(int) $stream]);
        }
    }
    foreach ($write as $stream) {
        if (! isset($unsent[(int) $stream])) {
            continue;
        }
        $bytes = $unsent[(int) $stream] ?: implode('', array_map($request, range(1, 8)));
        $sent = @fwrite($stream, $bytes);
        if ($sent === false) {
            unset($streams[(int) $stream], $unsent[(int) $stream]);
            continue;
        }
        $unsent[(int) $stream] = substr($bytes, $sent);
    }
    if ($number >= 400 || hrtime(true) > ($started ??= hrtime(true)) + 1_000_000_000) {
        touch($file);
    }
}
