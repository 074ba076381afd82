<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use FilesystemIterator;
use Illuminate\Contracts\Foundation\Application;
use RecursiveCallbackFilterIterator;
use RecursiveDirectoryIterator;
use RecursiveIteratorIterator;
use SplFileInfo;
use Throwable;

/**
 * The app's own queued classes that declare something for kqueue, or use a property of that name for something else.
 * Limited in files, classes and time, since an app may be of any size.
 */
final class Declarations
{
    private const FILES = 5000;

    private const CLASSES = 500;

    /** Seconds for reading files, and again for loading classes. */
    private const PATIENCE = 3.0;

    /** Matches files whose class may be queued, or may declare something. */
    private const TELLING = '/ShouldQueue|QueueableAction|As(?:Job|Action)\b|\bKqueue\\\\|(?:\$|function\s+)(?:isolated|maxMemory|estimatedDuration|priority|maxTasks|cpuWeight|ioWeight)\b/';

    /**
     * @return array<string, array{hints?: array<string, string>, ignored?: array<string, string>, unloadable?: string}> by class
     */
    public static function of(Application $app, string $path, bool $properties): array
    {
        $declared = [];

        foreach ((new Inspector($app))->now(self::classes($path), $properties, self::PATIENCE) as $class => $report) {
            if (isset($report['unloadable'])) {
                $declared[$class] = ['unloadable' => (string) $report['unloadable']];
            } elseif (($report['queued'] ?? false) && (($report['hints'] ?? []) !== [] || isset($report['ignored']))) {
                $hints = array_map(static fn (mixed $value): string => is_array($value) ? self::limit($value) : var_export($value, true), $report['hints'] ?? []);
                $declared[$class] = array_filter(['hints' => $hints, 'ignored' => $report['ignored'] ?? []]);
            }
        }

        ksort($declared);

        return $declared;
    }

    /** @param array<string, mixed> $limit */
    private static function limit(array $limit): string
    {
        return Inspect::parts(isset($limit['rate']) ? ['rate' => "{$limit['rate'][0]} in {$limit['rate'][1]} s"] + $limit : $limit);
    }

    /** @return list<string> classes below `app/`, by the PSR-4 rules of composer.json, whose files match TELLING */
    private static function classes(string $path): array
    {
        $composer = json_decode((string) @file_get_contents("{$path}/composer.json"), true);
        $roots = is_array($composer['autoload']['psr-4'] ?? null) ? $composer['autoload']['psr-4'] : ['App\\' => 'app/'];
        $classes = [];
        foreach ($roots as $namespace => $directories) {
            foreach (array_filter((array) $directories, 'is_string') as $directory) {
                $directory = $path.'/'.trim($directory, '/');

                if (! is_dir($directory) || ! str_starts_with("{$directory}/", "{$path}/app/")) {
                    continue;
                }

                foreach (self::files($directory) as $name => $file) {
                    if (count($classes) === self::CLASSES) {
                        return $classes;
                    }

                    if (preg_match(self::TELLING, (string) @file_get_contents($file, false, null, 0, 65536)) === 1) {
                        $classes[] = $namespace.strtr($name, '/', '\\');
                    }
                }
            }
        }

        return $classes;
    }

    /**
     * Files that are named like classes, within the limits of files and time.
     *
     * @return iterable<string, string> path below the directory without its extension => path
     */
    public static function files(string $directory): iterable
    {
        [$left, $until] = [self::FILES, microtime(true) + self::PATIENCE];

        if (! is_dir($directory)) {
            return;
        }

        $all = new RecursiveDirectoryIterator($directory, FilesystemIterator::SKIP_DOTS | FilesystemIterator::CURRENT_AS_FILEINFO);
        $named = new RecursiveCallbackFilterIterator($all, static fn (SplFileInfo $file): bool => preg_match('/^[A-Za-z_]\w*(\.php)?$/', $file->getFilename()) === 1);

        try {
            foreach (new RecursiveIteratorIterator($named, RecursiveIteratorIterator::LEAVES_ONLY, RecursiveIteratorIterator::CATCH_GET_CHILD) as $file) {
                if ($left-- === 0 || microtime(true) > $until) {
                    return;
                }

                if ($file->isFile() && $file->getExtension() === 'php') {
                    yield substr($file->getPathname(), strlen($directory) + 1, -4) => $file->getPathname();
                }
            }
        } catch (Throwable) {
            // No class can be loaded from a directory that is not readable.
        }
    }
}
