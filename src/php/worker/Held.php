<?php

declare(strict_types=1);

namespace Kqueue\Worker;

/**
 * Finds what a process has open that must not be shared over a fork: sockets, pipes, epoll and the like, files with a
 * read position or a lock, and threads, which a fork does not inherit. What was open before the app booted is ignored.
 */
final class Held
{
    /** Peers of the C library: log sockets carry whole messages, and sssd's client detects a fork. */
    private const SAFE = ['/dev/log', '/run/systemd/journal/dev-log', '/run/systemd/journal/socket', '/var/lib/sss/pipes/*'];

    private const DEVICES = ['/dev/null', '/dev/zero', '/dev/full', '/dev/random', '/dev/urandom'];

    private const APPEND = 02000;

    /** Limit of the names that are reported. */
    private const NAMES = 20;

    /** @var array<int|string, string> */
    private array $before;

    private int $threads;

    /** @var array<string, string> when each descriptor was first seen, by its number and link target */
    private array $seen = [];

    /** @param list<string> $safe names as {@see left()} gives them, in which `*` stands for anything */
    public function __construct(private array $safe = [])
    {
        $this->before = self::descriptors();
        $this->threads = self::threads();
    }

    /** Records $what as the origin of all descriptors that were not seen before. */
    public function note(string $what): void
    {
        foreach (self::descriptors() as $fd => $link) {
            $this->seen["{$fd} {$link}"] ??= $what;
        }
    }

    /**
     * Excludes a socket of kqueue's own, which a fork closes. Null: none.
     *
     * @param resource|null $socket
     */
    public function ours($socket): void
    {
        // One at a time: its inode number may be reused once it is closed.
        $this->before['ours'] = $socket === null ? '' : 'socket:['.(fstat($socket)['ino'] ?? '').']';
    }

    /** @return list<array{name: string, opened: string|null}> */
    public function left(): array
    {
        $left = $this->look();

        if ($left !== []) {
            // Unreachable objects may hold it. Not done earlier: the collector writes to memory that forks share.
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

    /** Whether a descriptor was open before, or is a duplicate of one that was, such as `php://stderr`. */
    private function wasThere(int $fd, string $link): bool
    {
        // Sockets and pipes are identified by inode; of other links, only the standard streams are duplicated.
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

    /** The reported name of a descriptor; null if it may be shared. */
    private static function name(int $fd, string $link): ?string
    {
        if (str_starts_with($link, 'socket:')) {
            return self::peer($fd);
        }

        if ($link[0] !== '/') {
            // "pipe:[4711]": the inode number is of no use.
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
            // The descriptor of scandir() itself is closed by now.
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
