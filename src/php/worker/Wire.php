<?php

declare(strict_types=1);

namespace Kqueue\Worker;

/**
 * The socket to the runtime: frames out, frames in. Specified in src/core/wire/protocol.md.
 */
final class Wire
{
    public const HELLO = 1;
    public const READY = 2;
    public const DELETED = 3;
    public const STOPPING = 4;
    public const DIED = 5;
    public const FORKED = 6;
    public const EXITED = 7;
    public const STATE = 8;
    public const HINTS = 9;
    public const BOOT_FAILED = 10;
    public const NEXT = 11;
    public const TAKEN = 12;
    public const INTERRUPTIBLE = 13;
    public const POPPED = 14;
    public const HORIZON = 20;

    public const WELCOME = 32;
    public const JOB = 33;
    public const CHECK = 34;
    public const STOP = 35;
    public const FORK = 36;
    public const INSPECT = 37;
    public const REAP = 38;
    public const POP = 39;
    public const STANDING = 40;

    /** Nanoseconds of polling for a frame that is expected at once, before sleeping. */
    private const LOOK = 150_000;

    /** @var resource|null */
    private $stream;

    private string $buffer = '';

    /**
     * PID of the process that has dialled. A child that a job forks has a copy of the connection and must not use it.
     */
    private int $owner;

    /** @param resource $stream */
    private function __construct($stream)
    {
        $this->stream = $stream;
        $this->owner = getmypid();
    }

    /** Whether this process is the one that dialled. */
    public function isOurs(): bool
    {
        return $this->owner === getmypid();
    }

    /** Dials the runtime. Fails with a RuntimeException that names the socket. */
    public static function connect(string $path): self
    {
        $stream = @stream_socket_client('unix://'.$path, $code, $message, 10);

        if ($stream === false) {
            throw new \RuntimeException("cannot connect to kqueue's socket {$path}: {$message}");
        }

        stream_set_blocking($stream, false);
        stream_set_read_buffer($stream, 0);
        stream_set_write_buffer($stream, 0);

        return new self($stream);
    }

    /**
     * Sends one frame; false when the runtime is gone. In a child that a job has forked, sends nothing.
     *
     * @param array<string, mixed> $header
     */
    public function send(int $kind, array $header = []): bool
    {
        if (! $this->isOurs()) {
            return true;
        }

        if ($this->stream === null) {
            return false;
        }

        // Text of the app (exception messages, class names) may be invalid UTF-8: it is repaired, never rejected.
        $json = $header === [] ? '{}' : json_encode($header, JSON_UNESCAPED_SLASHES | JSON_INVALID_UTF8_SUBSTITUTE | JSON_PARTIAL_OUTPUT_ON_ERROR);
        $frame = pack('NCN', 5 + strlen($json), $kind, strlen($json)).$json;

        while ($frame !== '') {
            $written = @fwrite($this->stream, $frame);

            if ($written === false || ($written === 0 && ! $this->isWritable())) {
                $this->close();

                return false;
            }

            $frame = $written === strlen($frame) ? '' : substr($frame, $written);
        }

        return true;
    }

    /**
     * Waits for the next frame, for at most $seconds (null: without limit), or until $also is readable. With $eager,
     * polls before it sleeps, for a frame that is expected at once.
     *
     * Returns null on timeout, when $also is readable, or after a signal, so that its handler can run; false when the
     * runtime is gone.
     *
     * @param resource|null $also
     * @return array{0: int, 1: array<string, mixed>, 2: string}|null|false
     */
    public function receive(?float $seconds = null, bool $eager = false, $also = null): array|null|false
    {
        // Right after a job the next one is usually on its way. Polling briefly costs less than sleeping and waking.
        $until = $eager ? hrtime(true) + self::LOOK : 0;

        while ($this->stream !== null) {
            if (($frame = $this->next()) !== null) {
                return $frame;
            }

            $chunk = @fread($this->stream, $this->wanted());

            if ($chunk !== '' && $chunk !== false) {
                $this->buffer .= $chunk;
            } elseif (feof($this->stream)) {
                $this->close();
            } elseif ($until > 0 && hrtime(true) < $until) {
                continue;
            } elseif (! $this->isReadable($seconds, $also)) {
                return null;
            }
        }

        return false;
    }

    /**
     * Waits for input; false on timeout, when only $also is readable, or after a signal, so that its handler can run.
     */
    private function isReadable(?float $seconds, $also = null): bool
    {
        $read = $also === null ? [$this->stream] : [$this->stream, $also];
        $none = null;
        $whole = $seconds === null ? null : (int) $seconds;

        return @stream_select($read, $none, $none, $whole, $seconds === null ? null : (int) (($seconds - $whole) * 1e6)) > 0
            && in_array($this->stream, $read, true);
    }

    /** Waits until the socket is writable; false after 60 seconds, or when the runtime is gone. */
    private function isWritable(): bool
    {
        $write = [$this->stream];
        $none = null;

        // Interrupted by a signal: wait again.
        while (($ready = @stream_select($none, $write, $none, 60)) === false) {
            $write = [$this->stream];
        }

        return $ready > 0 && ! feof($this->stream);
    }

    public function close(): void
    {
        if ($this->stream !== null) {
            @fclose($this->stream);
        }

        $this->stream = null;
        $this->buffer = '';
    }

    /** @return array{0: int, 1: array<string, mixed>, 2: string}|null */
    private function next(): ?array
    {
        $have = strlen($this->buffer);

        if ($have < 9) {
            return null;
        }

        ['length' => $length, 'kind' => $kind, 'header' => $header] = unpack('Nlength/Ckind/Nheader', $this->buffer);

        if ($have < 4 + $length) {
            return null;
        }

        $fields = json_decode(substr($this->buffer, 9, $header), true);
        $body = $length > 5 + $header ? substr($this->buffer, 9 + $header, $length - 5 - $header) : '';
        $this->buffer = $have === 4 + $length ? '' : substr($this->buffer, 4 + $length);

        return [$kind, is_array($fields) ? $fields : [], $body];
    }

    /** Bytes to read next: large payloads in few reads, small ones without a large buffer. */
    private function wanted(): int
    {
        if (strlen($this->buffer) < 4) {
            return 65536;
        }

        $missing = 4 + unpack('N', $this->buffer)[1] - strlen($this->buffer);

        return max(8192, min($missing, 1 << 20));
    }
}
