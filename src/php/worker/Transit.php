<?php

declare(strict_types=1);

namespace Kqueue\Worker;

/**
 * A file with the record that is on its way from the failed jobs to a queue, in the app's `storage/framework`.
 *
 * If the process dies on the way, the next one finds the record there. Its writer holds a lock on the file, so a file
 * without a lock was left behind.
 */
final class Transit
{
    /** @var resource|null the file; null if there can be none */
    private $file = null;

    private string $path = '';

    /** @param string $prefix of the files' paths, the same for all processes with these failed jobs */
    public function __construct(private string $prefix)
    {
    }

    /** @return iterable<object> the records that processes have left behind; each is removed once the caller goes on */
    public function left(): iterable
    {
        foreach (glob("{$this->prefix}-*") ?: [] as $path) {
            $file = is_link($path) ? false : @fopen($path, 'r+');

            if ($file === false || ! flock($file, LOCK_EX | LOCK_NB)) {
                continue;
            }

            $record = @unserialize((string) stream_get_contents($file), ['allowed_classes' => false]);

            if (is_array($record)) {
                yield (object) $record;
            }

            unlink($path);
        }
    }

    /** Keeps a record until `clear()`. */
    public function keep(object $record): void
    {
        $this->file ??= $this->open();

        if ($this->file !== null) {
            fwrite($this->file, serialize((array) $record));
        }
    }

    public function clear(): void
    {
        if ($this->file !== null) {
            ftruncate($this->file, 0);
            rewind($this->file);
        }
    }

    public function __destruct()
    {
        $this->file === null || @unlink($this->path);
    }

    /** @return resource|null */
    private function open()
    {
        $this->path = "{$this->prefix}-".bin2hex(random_bytes(8));
        // Another process may take it for one that was left behind before it is locked.
        $file = @fopen($this->path, 'x');

        return $file !== false && chmod($this->path, 0600) && flock($file, LOCK_EX) && fstat($file)['nlink'] > 0 ? $file : null;
    }
}
