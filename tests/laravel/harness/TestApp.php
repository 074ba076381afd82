<?php

declare(strict_types=1);

namespace Kqueue\Tests;

use PDO;

/** Makes an app that boots out of a copy of `app/`: its directories, its database, its autoloader. */
final class TestApp
{
    /** @param string|null $laravel a directory whose vendor/ is a Laravel installed by Composer; null for Debian's */
    public static function make(string $dir, ?string $laravel = null): void
    {
        self::copy(dirname(__DIR__) . '/app', $dir);
        foreach (['bootstrap/cache', 'storage/framework/cache/data', 'storage/framework/views', 'storage/logs', 'vendor', 'resources/views'] as $sub) {
            is_dir("{$dir}/{$sub}") || mkdir("{$dir}/{$sub}", 0777, true);
        }
        $load = $laravel === null
            ? "require_once dirname(__DIR__) . '/bootstrap/autoload.php';"
            : 'return require ' . var_export($laravel . '/vendor/autoload.php', true) . ';';
        file_put_contents($dir . '/vendor/autoload.php', "<?php\n\n{$load}\n");
        touch($dir . '/journal.jsonl');
    }

    /** The app's tables as one engine has them. */
    public static function schema(string $engine): string
    {
        return (string) file_get_contents(dirname(__DIR__) . "/app/database/schema.{$engine}.sql");
    }

    /** Creates what `composer require kqueue/kqueue` leaves in `vendor/`, with a path repository, for discovery. */
    public static function require(string $dir): void
    {
        $package = json_decode((string) file_get_contents(dirname(__DIR__, 3) . '/src/php/composer.json'), true, 64, JSON_THROW_ON_ERROR);
        mkdir("{$dir}/vendor/composer");
        mkdir("{$dir}/vendor/kqueue");
        symlink(dirname(__DIR__, 3) . '/src/php', "{$dir}/vendor/{$package['name']}");
        file_put_contents("{$dir}/vendor/composer/installed.json", json_encode(['packages' => [$package + ['version' => '1.0.0']]]));
        $autoload = var_export(array_merge(...array_values(array_map(
            static fn (string $prefix, string $at): array => [$prefix => "{$dir}/vendor/{$package['name']}/{$at}"],
            array_keys($package['autoload']['psr-4']),
            $package['autoload']['psr-4'],
        ))), true);
        $classes = var_export(array_map(
            static fn (string $file): string => "{$dir}/vendor/{$package['name']}/{$file}",
            $package['autoload']['classmap'],
        ), true);
        // Composer's loader is as case-sensitive, but finds the class of a file by its contents.
        $load = <<<PHP
            spl_autoload_register(static function (string \$class): void {
                foreach ({$autoload} as \$prefix => \$at) {
                    \$file = \$at . strtr(substr(\$class, strlen(\$prefix)), '\\\\', '/') . '.php';
                    if (str_starts_with(\$class, \$prefix) && is_file(\$file)) {
                        require \$file;
                        return;
                    }
                }
                foreach ({$classes} as \$file) {
                    if (basename(\$file, '.php') === substr((string) strrchr(\$class, '\\\\'), 1)) {
                        require \$file;
                    }
                }
            });
            PHP;
        $file = $dir . '/vendor/autoload.php';
        file_put_contents($file, str_replace("<?php\n", "<?php\n\n{$load}\n", (string) file_get_contents($file)));
    }

    public static function key(): string
    {
        return 'base64:' . base64_encode(random_bytes(32));
    }

    /** @param array<string, string> $env */
    public static function writeEnv(string $dir, array $env): void
    {
        $lines = '';
        foreach ($env as $name => $value) {
            $lines .= "{$name}=\"{$value}\"\n";
        }
        file_put_contents($dir . '/.env', $lines);
    }

    public static function database(string $dir): PDO
    {
        $pdo = new PDO('sqlite:' . $dir . '/database/database.sqlite');
        $pdo->setAttribute(PDO::ATTR_ERRMODE, PDO::ERRMODE_EXCEPTION);
        $pdo->setAttribute(PDO::ATTR_DEFAULT_FETCH_MODE, PDO::FETCH_ASSOC);
        $pdo->setAttribute(PDO::ATTR_TIMEOUT, 5);

        return $pdo;
    }

    private static function copy(string $from, string $to): void
    {
        is_dir($to) || mkdir($to, 0777, true);
        foreach (array_diff(scandir($from) ?: [], ['.', '..', 'vendor', 'storage']) as $name) {
            if (is_dir("{$from}/{$name}")) {
                self::copy("{$from}/{$name}", "{$to}/{$name}");
            } else {
                copy("{$from}/{$name}", "{$to}/{$name}");
                chmod("{$to}/{$name}", fileperms("{$from}/{$name}") & 0777);
            }
        }
    }
}
