<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Closure;
use Illuminate\Redis\Connectors\PhpRedisConnector;
use Illuminate\Redis\RedisManager;

/**
 * What the app's Redis client connects to, and how: one server, a cluster, or a master behind sentinels.
 *
 * The values come from Laravel's manager, its connectors and predis: settings have several places, whose precedence
 * differs between versions. No connection is made.
 */
final class RedisServers
{
    /** A host with which phpredis speaks TLS. */
    public const SECURE = '~^(tls|ssl)[^:/]*://~i';

    /** @return array<string, mixed> in the form of the runtime's `RedisSettings` */
    public static function of(RedisManager $manager, string $name): array
    {
        [$client, $config] = self::inside($manager, RedisManager::class, fn (): array => [$this->driver, $this->config]);

        return match (true) {
            $client === 'predis' => self::predis($manager, $name),
            isset($config[$name]['sentinel_host']) => self::package($manager, $name),
            default => self::phpredis($manager, $name)[0],
        };
    }

    /** Whether Laravel treats the connection as one to a cluster. */
    public static function isCluster(RedisManager $manager, string $name): bool
    {
        $config = self::inside($manager, RedisManager::class, fn (): array => $this->config);

        return ! isset($config[$name]) && isset($config['clusters'][$name]);
    }

    /** @return array{0: array<string, mixed>, 1: array<string, mixed>} what it connects to, and the connector's settings */
    private static function phpredis(RedisManager $manager, string $name): array
    {
        $connector = new class extends PhpRedisConnector {
            /** @var array<string, mixed> */
            public array $found = [];

            /** @var array<string, mixed> */
            public array $settings = [];

            protected function createClient(array $config)
            {
                $context = $config['context'] ?? [];
                $context = method_exists($this, 'normalizeContext') ? $this->normalizeContext($context) : $context;
                $this->settings = $config;
                $host = (string) $this->formatHost($config + ['host' => '127.0.0.1']);
                $this->found = [
                    'host' => $host,
                    'port' => $config['port'] ?? 6379,
                    // TLS depends on the scheme alone, whatever the stream options.
                    'tls' => preg_match(RedisServers::SECURE, $host) ? $context['stream'] ?? [] : null,
                    'database' => $config['database'] ?? 0,
                ] + RedisServers::credentials($config['username'] ?? null, $config['password'] ?? $context['auth'] ?? null);

                return new \Redis;
            }

            protected function createRedisClusterInstance(array $servers, array $options)
            {
                $context = $options['context'] ?? null;
                $context = method_exists($this, 'normalizeClusterContext') && $context !== null ? $this->normalizeClusterContext($context) : $context;
                $this->settings = $options;
                $this->found = [
                    'cluster' => array_map([RedisServers::class, 'seed'], array_values($servers)),
                    // For a cluster, the options alone enable TLS.
                    'tls' => $context ?? (preg_grep(RedisServers::SECURE, $servers) ? [] : null),
                ] + RedisServers::credentials($options['username'] ?? null, $options['password'] ?? null);

                // A placeholder; no method of it is called.
                return (new \ReflectionClass(\RedisCluster::class))->newInstanceWithoutConstructor();
            }
        };
        self::resolve($manager, $name, fn () => $connector);

        return [['prefix' => (string) ($connector->settings['prefix'] ?? '')] + $connector->found, $connector->settings];
    }

    /** Sentinels with phpredis, by the package namoshek/laravel-redis-sentinel. @return array<string, mixed> */
    private static function package(RedisManager $manager, string $name): array
    {
        [$found, $settings] = self::phpredis($manager, $name);
        $sentinel = [
            'service' => $settings['sentinel_service'] ?? 'mymaster',
            'nodes' => [['host' => (string) $settings['sentinel_host'], 'port' => $settings['sentinel_port'] ?? 26379]],
            'tls' => $settings['sentinel_ssl'] ?? null,
        ] + self::credentials($settings['sentinel_username'] ?? null, $settings['sentinel_password'] ?? null);

        return ['sentinel' => $sentinel] + $found;
    }

    /** @return array<string, mixed> */
    private static function predis(RedisManager $manager, string $name): array
    {
        $client = $manager->resolve($name)->client();
        $connection = $client->getConnection();
        $prefix = $client->getOptions()->prefix;
        $found = ['prefix' => is_object($prefix) ? (string) $prefix->getPrefix() : (string) $prefix];
        $inside = static fn (Closure $look): array => self::inside($connection, get_class($connection), $look);

        // The parameters of predis's connections, with placeholders for hosts that it learns from the servers.
        return $found + match ((new \ReflectionClass($connection))->getShortName()) {
            'RedisCluster' => self::predisCluster(...$inside(fn (): array => [
                array_map(fn ($node): array => $node->getParameters()->toArray(), array_values($this->pool)),
                $this->createConnection('host:1')->getParameters()->toArray(),
            ])),
            'SentinelReplication' => self::predisSentinel(...$inside(fn (): array => [
                (string) $this->service,
                array_map(fn ($sentinel): array => $this->createSentinelConnection($sentinel)->getParameters()->toArray(), array_values($this->sentinels)),
                $this->connectionFactory->create(['host' => 'host', 'port' => 1])->getParameters()->toArray(),
            ])),
            'MasterSlaveReplication' => self::node($inside(fn (): array => $this->master ? $this->master->getParameters()->toArray() : [])),
            // Client-side sharding over independent servers, which only predis implements.
            'PredisCluster' => ['own' => ['class' => get_class($connection), 'method' => 'getConnectionByCommand']],
            default => self::node($connection->getParameters()->toArray()),
        };
    }

    /** @param list<array<string, mixed>> $seeds @param array<string, mixed> $others @return array<string, mixed> */
    private static function predisCluster(array $seeds, array $others): array
    {
        $like = isset($others['password']) || isset($others['ssl']) ? $others : ($seeds[0] ?? []);

        return ['cluster' => array_map(self::place(...), $seeds)] + array_diff_key(self::node($like), ['host' => 0, 'port' => 0]);
    }

    /** @param list<array<string, mixed>> $sentinels @param array<string, mixed> $master @return array<string, mixed> */
    private static function predisSentinel(string $service, array $sentinels, array $master): array
    {
        $sentinel = ['service' => $service, 'nodes' => array_map(self::place(...), $sentinels)];

        return ['sentinel' => $sentinel + self::node($sentinels[0] ?? [])] + array_diff_key(self::node($master), ['host' => 0, 'port' => 0]);
    }

    /** @param array<string, mixed> $parameters of predis @return array<string, mixed> */
    private static function node(array $parameters): array
    {
        $secure = in_array($parameters['scheme'] ?? '', ['tls', 'rediss'], true);

        return self::place($parameters) + [
            'tls' => $secure ? ($parameters['ssl'] ?? []) : null,
            'database' => $parameters['database'] ?? 0,
        ] + self::credentials($parameters['username'] ?? null, $parameters['password'] ?? null);
    }

    /** @param array<string, mixed> $parameters of predis @return array{host: string, port: mixed} */
    private static function place(array $parameters): array
    {
        $host = (string) (($parameters['scheme'] ?? '') === 'unix' ? $parameters['path'] ?? '' : $parameters['host'] ?? '127.0.0.1');

        return ['host' => $host, 'port' => $parameters['port'] ?? 6379];
    }

    /** Parses `HOST:PORT?…`, as Laravel passes it to phpredis. @return array{host: string, port: int} */
    public static function seed(string $server): array
    {
        $server = (string) strtok($server, '?');
        $at = (int) strrpos($server, ':');

        return ['host' => substr($server, 0, $at), 'port' => (int) substr($server, $at + 1)];
    }

    /** phpredis also takes a username and password pair. @return array{username: string|null, password: string|null} */
    public static function credentials(mixed $username, mixed $password): array
    {
        if (is_array($password)) {
            [$username, $password] = count($password) > 1 ? array_values($password) : [$username, reset($password)];
        }

        $given = static fn (mixed $value): ?string => is_scalar($value) && (string) $value !== '' ? (string) $value : null;

        return ['username' => $given($username), 'password' => $given($password)];
    }

    /** Resolves the connection with this connector, in another manager with the same settings. */
    private static function resolve(RedisManager $manager, string $name, Closure $connector): void
    {
        [$app, $config] = self::inside($manager, RedisManager::class, fn (): array => [$this->app, $this->config]);
        (new RedisManager($app, 'kqueue', $config))->extend('kqueue', $connector)->resolve($name);
    }

    /** @return mixed the result of $look, bound to $object in the scope of $class */
    private static function inside(object $object, string $class, Closure $look): mixed
    {
        return Closure::bind($look, $object, $class)();
    }
}
