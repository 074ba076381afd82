<?php

/**
 * Connects again and again, and keeps what it gets or does not, until it is ended. `spin` does so where there is
 * nobody: to compare with.
 *
 * usage: knock.php hold|drop|spin FILE, or included with $mode and $file   FILE is there once the flood is under way
 */

declare(strict_types=1);

$mode ??= $argv[1];
$file ??= $argv[2];
$held = [];
$socket = '/run/kqueue/' . ($mode === 'spin' ? 'nobody' : 'coordinator') . '.sock';
for ($n = 0; ; $n++) {
    $stream = @stream_socket_client("unix://{$socket}", $code, $text, 1);
    if ($mode === 'hold' && $stream) {
        $held[] = $stream;
        if (count($held) > 800) {
            $held = array_slice($held, 400);
        }
    }
    if ($n === 1000) {
        touch($file);
    }
}
