<?php

declare(strict_types=1);

namespace Kqueue\Tests;

use Illuminate\Contracts\Queue\Queue;
use InvalidArgumentException;
use PDO;

/**
 * A kind of queue store, by its name for `--driver`: which server it needs, how the app is configured for it, and how
 * the suite inspects it. To add one: a class, and its line in `ALL`.
 */
abstract class Service
{
    /** @var array<string, class-string<self>> */
    public const ALL = [
        'redis' => RedisService::class,
        'cluster' => RedisClusterService::class,
        'sqlite' => SqliteService::class,
        'mariadb' => MariaDbService::class,
        'pgsql' => PostgresService::class,
        'sqs' => SqsService::class,
        'beanstalkd' => BeanstalkdService::class,
        'own' => OwnService::class,
    ];

    /** The default of `--driver`. */
    public const USUAL = ['redis', 'sqlite'];

    /** Laravel's name of the driver, and of the app's queue connection. A row that names it applies to all services with it. */
    public const DRIVER = '';

    /** Its name in the table. */
    public const TITLE = '';

    final private function __construct(public readonly string $name)
    {
    }

    public static function named(string $name): self
    {
        $class = self::ALL[$name] ?? throw new InvalidArgumentException("no driver '{$name}': there are " . implode(', ', array_keys(self::ALL)));

        return new $class($name);
    }

    public function driver(): string
    {
        return static::DRIVER;
    }

    /** Whether a row for these drivers is for this one. @param list<string>|null $drivers null for all */
    public function isAmong(?array $drivers): bool
    {
        return $drivers === null || array_intersect([$this->name, static::DRIVER], $drivers) !== [];
    }

    /** Why a row for all drivers does not apply here; null if it does. */
    public function excludes(Row $row): ?string
    {
        return null;
    }

    /** Whether kqueue's workers pop from it by themselves. */
    public function isNative(): bool
    {
        return false;
    }

    /** A text of the app, with the server's names of queues replaced by the app's. */
    public function plain(Sandbox $sandbox, string $text): string
    {
        return $text;
    }

    /** Whether scenarios can share one server. */
    public function isShared(): bool
    {
        return true;
    }

    /** Starts a server of this kind; null if it needs none. */
    public function start(string $dir): ?Server
    {
        return null;
    }

    /** The prefix of the Redis keys of an app with this name. */
    public function prefix(string $name): string
    {
        return "{$name}_database_";
    }

    /** The app's settings. @return array<string, string|int> */
    abstract public function settings(string $name, ?Server $server): array;

    /** Creates what the app needs on the server before it boots, and its tables. */
    public function prepare(Sandbox $sandbox): void
    {
        TestApp::database($sandbox->app)->exec(TestApp::schema('sqlite'));
    }

    /** Number of jobs as Laravel counts them. */
    public function size(Queue $connection, string $queue): int
    {
        return $connection->size($queue);
    }

    /** The app's database: failed jobs, batches, its own tables. */
    public function database(Sandbox $sandbox): PDO
    {
        return TestApp::database($sandbox->app);
    }

    abstract public function backend(Sandbox $sandbox): Backend;
}
