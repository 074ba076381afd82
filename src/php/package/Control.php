<?php

declare(strict_types=1);

namespace Kqueue;

use Illuminate\Contracts\Foundation\Application;
use RuntimeException;

/**
 * Client of this app's kqueue on its control socket, with the identity of this process's user.
 */
final class Control
{
    /** Seconds that a reply may take. */
    private const PATIENCE = 8;

    /** Bytes read of a reply. */
    private const LARGEST = 8 << 20;

    public function __construct(private Application $app)
    {
    }

    /**
     * @param array<string, mixed> $request
     * @return array<string, mixed>
     * @throws RuntimeException why there is no answer, in one line
     */
    public function ask(array $request): array
    {
        [$stream, $socket] = $this->connect();
        stream_set_timeout($stream, self::PATIENCE);
        fwrite($stream, json_encode($request, JSON_THROW_ON_ERROR | JSON_UNESCAPED_SLASHES)."\n");
        $answer = (string) stream_get_contents($stream, self::LARGEST);
        fclose($stream);
        $told = json_decode($answer, true);

        if (! is_array($told)) {
            throw new RuntimeException("{$socket}: kqueue sent no valid reply");
        }

        if (isset($told['unable']) || isset($told['refused'])) {
            throw new RuntimeException("{$socket}: ".($told['unable'] ?? 'kqueue refuses requests from this user'));
        }

        return $told;
    }

    /** @return array{resource, string} */
    private function connect(): array
    {
        $tried = [];

        foreach ($this->sockets() as $socket) {
            $stream = @stream_socket_client("unix://{$socket}", $code, $error, self::PATIENCE);

            if ($stream !== false) {
                return [$stream, $socket];
            }

            $tried[] = "{$socket}: ".($error === '' ? 'no reply' : strtolower($error));
        }

        throw new RuntimeException(implode('; ', $tried));
    }

    /** @return list<string> */
    private function sockets(): array
    {
        $told = $this->app['config']['kqueue.control'];

        if (is_string($told) && $told !== '') {
            return [$told];
        }

        $name = Whereabouts::name($this->app);

        return ["/run/kqueue/{$name}.control.sock", ...array_map(static fn (string $place): string => "{$place}/{$name}/control.sock", Whereabouts::places())];
    }
}
