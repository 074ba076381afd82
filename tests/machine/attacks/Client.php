<?php

/** A client of the coordinator that keeps to no rule. */

declare(strict_types=1);

namespace Kqueue\Tests\Machine\Attacks;

final class Client
{
    public const SOCKET = '/run/kqueue/coordinator.sock';

    /** @var resource */
    public $stream;

    private string $heard = '';
    private int $last = 0;

    public function __construct()
    {
        // The queue of those who wait to be let in may be full for a moment.
        for ($n = 0; $n < 500 && ! ($stream = @stream_socket_client('unix://' . self::SOCKET, $code, $text, 10)); $n++) {
            usleep(10_000);
        }
        $this->stream = $stream ?: throw new \RuntimeException($text);
        stream_set_timeout($this->stream, 20);
    }

    /** @param array<string, mixed> $arguments */
    public static function frame(int $id, string $verb, array $arguments = []): string
    {
        // What is empty is an object here.
        $body = json_encode(['id' => $id, 'verb' => $verb] + array_map(static fn (mixed $one): mixed => $one === [] ? (object) [] : $one, $arguments));

        return pack('N', strlen($body)) . $body;
    }

    /**
     * @param array<string, mixed> $arguments
     * @return array<string, mixed>|null the answer; none when the connection has ended
     */
    public function ask(string $verb, array $arguments = []): ?array
    {
        $id = ++$this->last;
        if (@fwrite($this->stream, self::frame($id, $verb, $arguments)) === false) {
            return null;
        }
        do {
            while (strlen($this->heard) < 4 || strlen($this->heard) < 4 + ($length = unpack('N', $this->heard)[1])) {
                $some = @fread($this->stream, 65536);
                if ($some === '' || $some === false) {
                    return null;
                }
                $this->heard .= $some;
            }
            $message = json_decode(substr($this->heard, 4, $length), true);
            $this->heard = substr($this->heard, 4 + $length);
        } while (($message['id'] ?? null) !== $id);

        return $message;
    }
}
