<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Throwable;

/**
 * A file with the record that is on its way from the failed jobs to a queue, in the app's `storage/framework`.
 *
 * If the process dies on the way, the next one finds the record there. Its writer holds a lock on the file, so a file
 * without a lock was left behind. Where there can be no such file, records are moved without it.
 */
final class Transit
{
    /** @var resource|false|null the file; false if there can be none */
    private $file = null;

    private string $path = '';

    private bool $isClear = true;

    /** @param string $prefix of the files' paths, the same for all processes with these failed jobs */
    public function __construct(private string $prefix)
    {
    }

    /** Has the records restored that other processes have left behind. A record that cannot be restored stays. */
    public function recover(callable $restore): void
    {
        foreach (glob("{$this->prefix}-*") ?: [] as $path) {
            $file = is_link($path) ? false : @fopen($path, 'r+');

            if ($file === false || ! flock($file, LOCK_EX | LOCK_NB) || fstat($file)['nlink'] === 0) {
                continue;
            }

            try {
                $record = @unserialize((string) stream_get_contents($file), ['allowed_classes' => false]);
                is_array($record) && $restore((object) $record);
                @unlink($path);
            } catch (Throwable) {
                // The next errand tries again.
            }
        }
    }

    /** Keeps a record until `clear()`. */
    public function keep(object $record): void
    {
        $this->file ??= $this->open();

        if ($this->file !== false) {
            $this->isClear = false;
            fwrite($this->file, serialize([
                'id' => $record->id, 'connection' => $record->connection, 'queue' => $record->queue,
                'payload' => $record->payload, 'exception' => (string) $record->exception,
            ]));
        }
    }

    public function clear(): void
    {
        if ($this->file !== null && $this->file !== false) {
            ftruncate($this->file, 0);
            rewind($this->file);
            $this->isClear = true;
        }
    }

    public function __destruct()
    {
        // What is in it otherwise is nowhere else.
        $this->isClear && $this->path !== '' && @unlink($this->path);
    }

    /** @return resource|false */
    private function open()
    {
        $this->path = "{$this->prefix}-".bin2hex(random_bytes(8));
        $mask = umask(0077);
        $file = @fopen($this->path, 'x');
        umask($mask);

        // Before it is locked, another process may take it for one that was left behind.
        return $file !== false && flock($file, LOCK_EX) && fstat($file)['nlink'] > 0 ? $file : false;
    }
}
