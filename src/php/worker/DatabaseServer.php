<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Illuminate\Contracts\Foundation\Application;
use Illuminate\Database\Connection;
use Illuminate\Support\Arr;
use Illuminate\Support\ConfigurationUrlParser;
use PDO;

/**
 * The connection settings of a database server as Laravel and PDO would use them, for the runtime's own client.
 */
final class DatabaseServer
{
    private const ENGINES = ['mysql', 'mariadb', 'pgsql'];

    /** Paths of MySQL's socket, where PHP configures none. */
    private const SOCKETS = ['/run/mysqld/mysqld.sock', '/var/lib/mysql/mysql.sock', '/tmp/mysql.sock'];

    /** Settings by which two entries are the same database. */
    private const SAME = ['database', 'username', 'password', 'options', 'sslmode'];

    /** PDO's MySQL options by name: their numbers are constants of the extension. */
    private const TLS = ['ca' => 'SSL_CA', 'cert' => 'SSL_CERT', 'key' => 'SSL_KEY'];

    public static function serves(string $engine): bool
    {
        return in_array($engine, self::ENGINES, true);
    }

    /** @return array<string, mixed> */
    public static function describe(Application $app, Connection $database): array
    {
        // With separate read and write settings, this is the write side that Laravel has picked.
        $config = (array) $database->getConfig();
        $isPostgres = $database->getDriverName() === 'pgsql';

        return [
            'addresses' => self::addresses(self::sides($app, $config), $isPostgres),
            'direct' => $isPostgres && ! empty($config['direct']) ? self::direct($config) : [],
            'database' => (string) ($isPostgres ? $config['connect_via_database'] ?? $config['database'] ?? '' : $config['database'] ?? ''),
            'username' => self::text($config['username'] ?? null),
            'password' => self::text($config['password'] ?? null),
            'tls' => $isPostgres ? self::libpq($config) : self::pdo((array) ($config['options'] ?? [])),
            'charset' => self::text($config['charset'] ?? null),
            'collation' => self::text($config['collation'] ?? null),
            'notified' => $isPostgres && self::isNotified($app),
            'search_path' => $isPostgres ? self::searchPath($app, $config) : [],
        ];
    }

    /**
     * Laravel picks one of several write entries for each connection. The others of the same database are included.
     *
     * @param array<string, mixed> $config the one that was picked
     * @return list<array<string, mixed>>
     */
    private static function sides(Application $app, array $config): array
    {
        $all = (new ConfigurationUrlParser)->parseConfiguration((array) ($app['config']["database.connections.{$config['name']}"] ?? []));
        $sides = isset($all['write'][0]) ? array_filter((array) $all['write'], 'is_array') : [];
        $whole = array_map(static fn (array $side): array => array_merge(Arr::except($all, ['read', 'write']), $side), $sides);
        $own = Arr::only($config, self::SAME);

        return [$config, ...array_filter($whole, static fn (array $side): bool => Arr::only($side, self::SAME) == $own)];
    }

    /**
     * @param list<array<string, mixed>> $configs
     * @return list<array{host: string, port: int|null, socket: string|null}>
     */
    private static function addresses(array $configs, bool $isPostgres): array
    {
        $addresses = [];

        foreach ($configs as $config) {
            foreach (array_map('strval', Arr::wrap($config['host'] ?? '')) as $host) {
                array_push($addresses, ...($isPostgres ? self::libpqHosts($config, $host) : [self::mysqlHost($config, $host)]));
            }
        }

        return array_values(array_unique($addresses, SORT_REGULAR));
    }

    /** @param array<string, mixed> $config */
    private static function mysqlHost(array $config, string $host): array
    {
        $socket = self::text($config['unix_socket'] ?? null);

        return match (true) {
            $socket !== null => ['host' => '', 'port' => null, 'socket' => $socket],
            // MySQL's clients use the socket for this name.
            $host === 'localhost' => ['host' => $host, 'port' => self::port($config['port'] ?? null), 'socket' => self::socket()],
            default => ['host' => $host, 'port' => self::port($config['port'] ?? null), 'socket' => null],
        };
    }

    /** libpq takes lists; a single port applies to all hosts. @param array<string, mixed> $config */
    private static function libpqHosts(array $config, string $hosts): array
    {
        $ports = explode(',', (string) ($config['connect_via_port'] ?? $config['port'] ?? ''));

        return array_map(
            static fn (string $host, int $at): array => ['host' => trim($host), 'port' => self::port($ports[$at] ?? $ports[0]), 'socket' => null],
            $hosts = explode(',', $hosts),
            array_keys($hosts),
        );
    }

    /** Addresses of the server behind a pooler that keeps no sessions. @param array<string, mixed> $config */
    private static function direct(array $config): array
    {
        $direct = array_diff_key(array_merge($config, (array) ($config['direct'][0] ?? $config['direct'])), ['connect_via_port' => 0]);

        return self::addresses([$direct], true);
    }

    private static function port(mixed $port): ?int
    {
        return is_numeric($port) && $port > 0 && $port < 65536 ? (int) $port : null;
    }

    private static function socket(): ?string
    {
        $known = array_filter([ini_get('pdo_mysql.default_socket'), ini_get('mysqli.default_socket'), ...self::SOCKETS], 'is_string');

        return Arr::first($known, static fn (string $socket): bool => $socket !== '' && file_exists($socket));
    }

    /** @param array<string, mixed> $config */
    private static function libpq(array $config): object
    {
        return (object) array_filter([
            'mode' => self::text($config['sslmode'] ?? null),
            'ca' => self::text($config['sslrootcert'] ?? null),
            'cert' => self::text($config['sslcert'] ?? null),
            'key' => self::text($config['sslkey'] ?? null),
        ]);
    }

    /**
     * PDO uses TLS if a file, path or cipher is given, and verifies the certificate unless told otherwise.
     *
     * @param array<int, mixed> $options
     */
    private static function pdo(array $options): array
    {
        $option = static function (string $name) use ($options): mixed {
            foreach (["Pdo\\Mysql::ATTR_{$name}", "PDO::MYSQL_ATTR_{$name}"] as $constant) {
                if (defined($constant)) {
                    return $options[constant($constant)] ?? null;
                }
            }

            return null;
        };
        $files = array_filter(array_map(static fn (string $name): ?string => self::text($option($name)), self::TLS));
        $isEncrypted = $files !== [] || $option('SSL_CAPATH') || $option('SSL_CIPHER');

        return ['mode' => ! $isEncrypted ? 'disable' : ($option('SSL_VERIFY_SERVER_CERT') ?? true ? 'verify-full' : 'require')] + $files;
    }

    /**
     * Before Laravel 9 the setting was called `schema`, and taken literally.
     *
     * @param array<string, mixed> $config
     * @return list<string>
     */
    private static function searchPath(Application $app, array $config): array
    {
        $isOld = version_compare($app->version(), '9.0', '<');
        $path = $isOld ? $config['schema'] ?? [] : $config['search_path'] ?? $config['schema'] ?? [];

        if (is_string($path)) {
            $path = $isOld ? [$path] : (preg_match_all('/[^\s,"\']+/', $path, $names) ? $names[0] : []);
        }

        return array_values(array_map(static fn (mixed $name): string => $isOld ? (string) $name : trim((string) $name, '\'"'), $path));
    }

    /** Whether the app's Composer package sends a NOTIFY when a job is dispatched. */
    private static function isNotified(Application $app): bool
    {
        return $app->getProviders('Kqueue\KqueueServiceProvider') !== [] && (bool) ($app['config']['kqueue.doorbell'] ?? true);
    }

    private static function text(mixed $value): ?string
    {
        return is_scalar($value) && $value !== '' ? (string) $value : null;
    }
}
