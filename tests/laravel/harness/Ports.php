<?php

declare(strict_types=1);

namespace Kqueue\Tests;

/** Free ports of the loopback. */
final class Ports
{
    /** Below the kernel's ports for outgoing connections, so that none is taken while its server is down. */
    private const FIRST = 16_000;

    private const COUNT = 6_000;

    private static int $given = 0;

    /** A free port; the port of a cluster node's bus, 10000 above it, is free, too. None is returned twice. */
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
