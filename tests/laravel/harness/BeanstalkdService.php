<?php

declare(strict_types=1);

namespace Kqueue\Tests;

use Illuminate\Contracts\Queue\Queue;
use Illuminate\Foundation\Application;
use Pheanstalk\Contract\PheanstalkManagerInterface;
use Pheanstalk\Exception\ServerException;

/** Laravel's beanstalkd queue, which kqueue's workers pop from by themselves. */
final class BeanstalkdService extends Service
{
    public const DRIVER = 'beanstalkd';

    public const TITLE = 'beanstalkd';

    private const FORGETS = 'Laravel asks beanstalkd for the attempts of a job that it has just deleted there';

    private const GIVES_BACK = 'a reservation ends with its connection: the row `beanstalkd` instead';

    /** Why rows do not apply, by number or by a part of their titles. */
    private const ABSENT = [
        '17' => self::FORGETS,
        'release() and throw on the last try' => 'a released job is the same job: failing it deletes it',
        '25' => self::GIVES_BACK,
        '44' => self::GIVES_BACK,
        'no pcntl: SIGTERM' => self::GIVES_BACK,
        '48' => self::GIVES_BACK,
        '49' => self::GIVES_BACK,
        '51' => self::GIVES_BACK,
        '52' => self::GIVES_BACK,
        '54' => self::GIVES_BACK,
        '56' => 'a job that outlasts its time to run is released by the server, and nobody can delete it then',
        '85' => self::GIVES_BACK,
        'SIGQUIT while a job runs' => self::GIVES_BACK,
        'SIGINT while a job runs' => self::GIVES_BACK,
        'queue:clear' => 'Laravel cannot clear a tube',
        'queue:monitor under load' => 'beanstalkd counts what is ready',
    ];

    public function start(string $dir): ?Server
    {
        return BeanstalkdServer::start($dir);
    }

    /** Its tubes have the names of the queues, whatever the app. */
    public function isShared(): bool
    {
        return false;
    }

    public function excludes(Row $row): ?string
    {
        // Debian's client is of version 4; Laravel 11 and later need 5.
        if (version_compare(Application::VERSION, '11', '>=') && ! interface_exists(PheanstalkManagerInterface::class)) {
            return 'the client of beanstalkd is too old for this Laravel';
        }

        return NativeRows::among(self::ABSENT, $row) ?? NativeRows::excludes($row);
    }

    public function isNative(): bool
    {
        return true;
    }

    public function settings(string $name, ?Server $server): array
    {
        return ['CACHE_STORE' => 'file', 'BEANSTALKD_PORT' => $server->port];
    }

    /** A tube exists only for as long as something is in it. */
    public function size(Queue $connection, string $queue): int
    {
        try {
            return $connection->size($queue);
        } catch (ServerException) {
            return 0;
        }
    }

    public function backend(Sandbox $sandbox): Backend
    {
        return new BeanstalkdBackend($sandbox->server, new DatabaseBackend($sandbox));
    }
}
