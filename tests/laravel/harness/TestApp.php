<?php

declare(strict_types=1);

namespace Kqueue\Tests;

use PDO;

/** Makes a copy of `app/` into an app that boots: its directories, its database, its way to Laravel. */
final class TestApp
{
    /** @param string|null $laravel a directory whose vendor/ is a Laravel installed by Composer; else it is Debian's */
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
        self::database($dir)->exec((string) file_get_contents($dir . '/database/schema.sql'));
        touch($dir . '/journal.jsonl');
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
