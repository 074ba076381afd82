<?php

declare(strict_types=1);

namespace Kqueue\Tests;

/** Free ports of the loopback. */
final class Ports
{
    /** Below the ports that the kernel gives to outgoing connections: nobody takes one while its server is not up. */
    private const FIRST = 16_000;

    private const COUNT = 6_000;

    private static int $given = 0;

    /** One that is free, and so is the one that a cluster's nodes use beside it. None is given twice. */
    public static function free(): int
    {
        while (true) {
            $port = self::FIRST + (getmypid() * 61 + self::$given++) % self::COUNT;

            if (self::isFree($port) && self::isFree($port + 10_000)) {
                return $port;
            }
        }
    }

    private static function isFree(int $port): bool
    {
        $socket = @stream_socket_server("tcp://127.0.0.1:{$port}");

        return $socket !== false && fclose($socket);
    }
}
