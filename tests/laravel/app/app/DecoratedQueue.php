<?php

declare(strict_types=1);

namespace App;

use Illuminate\Container\Container;
use Illuminate\Contracts\Queue\Queue as QueueContract;
use Illuminate\Queue\Connectors\ConnectorInterface;
use Illuminate\Queue\DatabaseQueue;
use Illuminate\Queue\Queue;

/** A queue class that an app registers by `Queue::extend()`, around one of Laravel's that nobody sees. */
class DecoratedQueue extends Queue implements QueueContract
{
    public function __construct(private DatabaseQueue $inner)
    {
    }

    public static function connector(\ArrayAccess $app): ConnectorInterface
    {
        return new class ($app) implements ConnectorInterface {
            public function __construct(private \ArrayAccess $app)
            {
            }

            public function connect(array $config)
            {
                return new DecoratedQueue(new DatabaseQueue($this->app['db']->connection(), 'jobs', $config['queue'], $config['retry_after']));
            }
        };
    }

    public function setContainer(Container $container)
    {
        parent::setContainer($container);
        $this->inner->setContainer($container);
    }

    public function setConnectionName($name)
    {
        $this->inner->setConnectionName($name);

        return parent::setConnectionName($name);
    }

    public function size($queue = null)
    {
        return $this->inner->size($queue);
    }

    public function pendingSize($queue = null)
    {
        return $this->inner->pendingSize($queue);
    }

    public function delayedSize($queue = null)
    {
        return $this->inner->delayedSize($queue);
    }

    public function reservedSize($queue = null)
    {
        return $this->inner->reservedSize($queue);
    }

    public function creationTimeOfOldestPendingJob($queue = null)
    {
        return $this->inner->creationTimeOfOldestPendingJob($queue);
    }

    public function push($job, $data = '', $queue = null)
    {
        return $this->inner->push($job, $data, $queue);
    }

    public function pushRaw($payload, $queue = null, array $options = [])
    {
        return $this->inner->pushRaw($payload, $queue, $options);
    }

    public function later($delay, $job, $data = '', $queue = null)
    {
        return $this->inner->later($delay, $job, $data, $queue);
    }

    public function bulk($jobs, $data = '', $queue = null)
    {
        return $this->inner->bulk($jobs, $data, $queue);
    }

    public function pop($queue = null)
    {
        // Stands still, or fails, for as long as a scenario wants it to.
        clearstatcache();

        if (is_file(base_path('slow-queue'))) {
            Journal::write('looks');

            while (is_file(base_path('slow-queue'))) {
                usleep(10_000);
                clearstatcache();
            }
        }

        if (is_file(base_path('broken-queue'))) {
            throw new \RuntimeException((string) file_get_contents(base_path('broken-queue')));
        }

        return $this->inner->pop($queue);
    }
}
