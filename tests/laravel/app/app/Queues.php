<?php

declare(strict_types=1);

namespace App;

use Illuminate\Queue\Connectors\DatabaseConnector;
use Illuminate\Queue\Connectors\RedisConnector;
use Illuminate\Queue\DatabaseQueue;
use Illuminate\Queue\RedisQueue;

/** Queue classes as apps write them that share a server or a database with others. */
final class Queues
{
    /** Puts a word before the names of its queues. */
    public static function prefixed(\ArrayAccess $app, string $driver): object
    {
        return $driver === 'redis'
            ? new class ($app['redis']) extends RedisConnector {
                public function connect(array $config)
                {
                    return new class ($this->redis, $config['queue'], $config['connection'], $config['retry_after']) extends RedisQueue {
                        public function getQueue($queue)
                        {
                            return 'queues:shop_' . ($queue ?: $this->default);
                        }

                        protected function getQueueRedisKey($queue = null)
                        {
                            return $this->getQueue($queue);
                        }
                    };
                }
            }
            : new class ($app['db']) extends DatabaseConnector {
                public function connect(array $config)
                {
                    return new class ($this->connections->connection($config['connection'] ?? null), 'tenant_jobs', $config['queue'], $config['retry_after']) extends DatabaseQueue {
                        public function getQueue($queue)
                        {
                            $queue = $queue ?: $this->default;

                            return str_starts_with($queue, 'shop_') ? $queue : "shop_{$queue}";
                        }
                    };
                }
            };
    }

    /** Takes jobs off in a way of its own. */
    public static function popping(\ArrayAccess $app, string $driver): object
    {
        return $driver === 'redis'
            ? new class ($app['redis']) extends RedisConnector {
                public function connect(array $config)
                {
                    return new class ($this->redis, $config['queue'], $config['connection'], $config['retry_after']) extends RedisQueue {
                        public function pop($queue = null, $index = 0)
                        {
                            return parent::pop("shop_{$queue}", $index);
                        }
                    };
                }
            }
            : new class ($app['db']) extends DatabaseConnector {
                public function connect(array $config)
                {
                    return new class ($this->connections->connection($config['connection'] ?? null), 'jobs', $config['queue'], $config['retry_after']) extends DatabaseQueue {
                        public function pop($queue = null)
                        {
                            return parent::pop("shop_{$queue}");
                        }
                    };
                }
            };
    }
}
