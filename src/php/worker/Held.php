<?php

declare(strict_types=1);

namespace Kqueue\Worker;

/**
 * What a process has open that two processes must not share: sockets, pipes, epoll and the like, files with a read
 * position or a lock, and threads, which a fork does not have. What was there before the app is not the app's.
 */
final class Held
{
    /** Of the C library: to the log whole messages are sent, and sssd's client notices a fork. */
    private const SAFE = ['/dev/log', '/run/systemd/journal/dev-log', '/run/systemd/journal/socket', '/var/lib/sss/pipes/*'];

    private const DEVICES = ['/dev/null', '/dev/zero', '/dev/full', '/dev/random', '/dev/urandom'];

    private const APPEND = 02000;

    /** Names at the most: who holds a thousand descriptors needs no list of them. */
    private const NAMES = 20;

    /** @var array<int|string, string> */
    private array $before;

    private int $threads;

    /** @var array<string, string> when each descriptor was first seen, by its number and what it is */
    private array $seen = [];

    /** @param list<string> $safe names as {@see left()} gives them, in which `*` stands for anything */
    public function __construct(private array $safe = [])
    {
        $this->before = self::descriptors();
        $this->threads = self::threads();
    }

    /** Remembers that what is there now, and was not before, came while $what happened. */
    public function note(string $what): void
    {
        foreach (self::descriptors() as $fd => $link) {
            $this->seen["{$fd} {$link}"] ??= $what;
        }
    }

    /**
     * A socket of kqueue's own, which a fork gives up.
     *
     * @param resource|null $socket
     */
    public function ours($socket): void
    {
        // Its number is used again once it is closed, so there is one at a time.
        $this->before['ours'] = $socket === null ? '' : 'socket:['.(fstat($socket)['ino'] ?? '').']';
    }

    /** @return list<array{name: string, opened: string|null}> */
    public function left(): array
    {
        $left = $this->look();

        if ($left !== []) {
            // Perhaps nobody has it any more. Not before, for the collector writes to memory that forks share.
            gc_collect_cycles();
            $left = $this->look();
        }

        return $left;
    }

    /** @return list<array{name: string, opened: string|null}> */
    private function look(): array
    {
        $left = [];

        foreach (self::descriptors() as $fd => $link) {
            $name = $this->wasThere($fd, $link) ? null : self::name($fd, $link);

            if ($name !== null && ! $this->isSafe($name)) {
                $left[$name] = ['name' => $name, 'opened' => $this->seen["{$fd} {$link}"] ?? null];
            }
        }

        if (self::threads() > $this->threads && ! $this->isSafe('thread')) {
            $left[] = ['name' => 'thread', 'opened' => null];
        }

        return array_slice(array_values($left), 0, self::NAMES);
    }

    /** Whether it is what was there before, or a copy of it, such as `php://stderr` is. */
    private function wasThere(int $fd, string $link): bool
    {
        // Sockets and pipes have a number of their own, and standard streams are copied whatever they are.
        $known = preg_match('/:\[\d+\]$/D', $link) === 1 ? $this->before : array_intersect_key($this->before, [0, 1, 2]);

        return ($this->before[$fd] ?? null) === $link || in_array($link, $known, true);
    }

    private function isSafe(string $name): bool
    {
        foreach ([...self::SAFE, ...$this->safe] as $safe) {
            if ($safe === $name || preg_match('~^'.str_replace('\*', '.*', preg_quote($safe, '~')).'$~D', $name) === 1) {
                return true;
            }
        }

        return false;
    }

    /** What to call it; null for what may be shared. */
    private static function name(int $fd, string $link): ?string
    {
        if (str_starts_with($link, 'socket:')) {
            return self::peer($fd);
        }

        if ($link[0] !== '/') {
            // "pipe:[4711]": the number means nothing to anybody.
            return (string) preg_replace('/^(pipe):\[\d+\]$/', '$1', $link);
        }

        if (in_array($link, self::DEVICES, true)) {
            return null;
        }

        $info = (string) @file_get_contents("/proc/self/fdinfo/{$fd}");
        preg_match('/^flags:\s*([0-7]+)/m', $info, $flags);
        $appends = (octdec($flags[1] ?? '0') & self::APPEND) !== 0;

        return $appends && ! str_contains($info, "\nlock:") && is_file("/proc/self/fd/{$fd}") ? null : self::printable($link);
    }

    /** The other end of a socket: `192.0.2.7:6379`, or the path of a Unix socket. */
    private static function peer(int $fd): string
    {
        $socket = @fopen("php://fd/{$fd}", 'r');
        $peer = $socket === false ? '' : (string) @stream_socket_get_name($socket, true);
        $own = $socket === false || $peer !== '' ? '' : (string) @stream_socket_get_name($socket, false);

        return match (true) {
            $peer !== '' => self::printable($peer),
            $own !== '' => 'socket at '.self::printable($own),
            default => 'socket',
        };
    }

    private static function printable(string $name): string
    {
        // The name of an abstract Unix socket begins with a zero byte, and is written with an @.
        $name = $name[0] === "\0" ? '@'.substr($name, 1) : $name;

        return (string) preg_replace('/[^\x20-\x7e]/', '?', substr($name, 0, 200));
    }

    /** @return array<int, string> */
    private static function descriptors(): array
    {
        $descriptors = [];

        foreach (@scandir('/proc/self/fd') ?: [] as $fd) {
            // The one that is used to look is closed by now.
            if (ctype_digit($fd) && ($link = @readlink("/proc/self/fd/{$fd}")) !== false) {
                $descriptors[(int) $fd] = $link;
            }
        }

        return $descriptors;
    }

    private static function threads(): int
    {
        return count(@scandir('/proc/self/task') ?: []);
    }
}
