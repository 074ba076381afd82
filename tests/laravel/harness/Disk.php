<?php

declare(strict_types=1);

namespace Kqueue\Tests;

use RuntimeException;

/** A small tmpfs on one directory, in a mount namespace of this case and the processes that it starts. Needs root. */
final class Disk
{
    private function __construct(private readonly string $dir)
    {
    }

    /** Keeps the contents of the directory. */
    public static function below(string $dir, int $megabytes): self
    {
        pcntl_unshare(CLONE_NEWNS) || throw new RuntimeException('a name space of its own needs root');
        $disk = new self($dir);
        $disk->run('mount --make-rprivate /');
        rename($dir, "{$dir}-before");
        mkdir($dir);
        $disk->run("mount -t tmpfs -o size={$megabytes}m kqueue-test " . escapeshellarg($dir));
        $disk->run('cp -aT ' . escapeshellarg("{$dir}-before") . ' ' . escapeshellarg($dir));
        Files::remove("{$dir}-before");

        return $disk;
    }

    /** Fills it up. */
    public function fill(): void
    {
        $file = fopen("{$this->dir}/ballast", 'w');
        while (@fwrite($file, str_repeat("\0", 4096)) === 4096) {
        }
        fclose($file);
    }

    public function free(): void
    {
        unlink("{$this->dir}/ballast");
    }

    private function run(string $command): void
    {
        exec("{$command} 2>&1", $said, $code);
        $code === 0 || throw new RuntimeException("{$command}: " . implode("\n", $said));
    }
}
