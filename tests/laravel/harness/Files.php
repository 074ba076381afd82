<?php

declare(strict_types=1);

namespace Kqueue\Tests;

use FilesystemIterator;
use RecursiveDirectoryIterator;
use RecursiveIteratorIterator;

/** Directories of the test's own. */
final class Files
{
    public static function remove(string $dir): void
    {
        if (! is_dir($dir)) {
            return;
        }
        $all = new RecursiveIteratorIterator(
            new RecursiveDirectoryIterator($dir, FilesystemIterator::SKIP_DOTS),
            RecursiveIteratorIterator::CHILD_FIRST,
        );
        foreach ($all as $file) {
            // A process that is just being killed may still write there.
            $file->isDir() && ! $file->isLink() ? @rmdir($file->getPathname()) : @unlink($file->getPathname());
        }
        @rmdir($dir);
    }
}
