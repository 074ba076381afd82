<?php

declare(strict_types=1);

namespace Kqueue\Tests;

/** Free ports of the loopback. */
final class Ports
{
    /** The kernel names one; nothing else takes it in the moment before the server does. */
    public static function free(): int
    {
        $socket = stream_socket_server('tcp://127.0.0.1:0');
        $port = (int) substr(strrchr(stream_socket_get_name($socket, false), ':'), 1);
        fclose($socket);

        return $port;
    }
}
