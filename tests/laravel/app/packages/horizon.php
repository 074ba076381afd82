<?php

/**
 * Stands in for Laravel Horizon, which no Debian package holds: the names that kqueue looks for, and the points at which
 * Horizon's queue takes part in the life of a job. Its listeners need these events, with these data, in the
 * process that runs the job.
 */

declare(strict_types=1);

namespace Laravel\Horizon\Events {
    abstract class Event
    {
        public ?string $connectionName = null;

        public ?string $queue = null;

        /** @var array<string, mixed> what the queue holds of the job */
        public array $payload;

        public function __construct(string $payload)
        {
            $this->payload = json_decode($payload, true);
        }

        public function connection(string $name): static
        {
            $this->connectionName = $name;

            return $this;
        }

        public function queue(string $name): static
        {
            $this->queue = $name;

            return $this;
        }
    }

    class JobPushed extends Event
    {
    }

    class JobReserved extends Event
    {
    }

    class JobReleased extends Event
    {
    }

    class JobDeleted extends Event
    {
    }
}

namespace Laravel\Horizon {
    use Illuminate\Queue\RedisQueue as BaseQueue;
    use Laravel\Horizon\Events\Event;

    class RedisQueue extends BaseQueue
    {
        /** @return mixed */
        public function pushRaw($payload, $queue = null, array $options = [])
        {
            $id = parent::pushRaw($payload, $queue, $options);
            $this->tell($queue, new Events\JobPushed($payload));

            return $id;
        }

        /** @return mixed */
        protected function laterRaw($delay, $payload, $queue = null)
        {
            $id = parent::laterRaw($delay, $payload, $queue);
            $this->tell($queue, new Events\JobPushed($payload));

            return $id;
        }

        /** @return int jobs that could run now */
        public function readyNow($queue = null)
        {
            return $this->getConnection()->llen($this->getQueue($queue));
        }

        /** @return mixed */
        public function pop($queue = null, $index = 0)
        {
            $job = parent::pop($queue, $index);
            $job && $this->tell($queue, new Events\JobReserved($job->getReservedJob()));

            return $job;
        }

        /** @return void */
        public function deleteReserved($queue, $job)
        {
            parent::deleteReserved($queue, $job);
            $this->tell($queue, new Events\JobDeleted($job->getReservedJob()));
        }

        /** @return void */
        public function deleteAndRelease($queue, $job, $delay)
        {
            parent::deleteAndRelease($queue, $job, $delay);
            $this->tell($queue, new Events\JobReleased($job->getReservedJob()));
        }

        private function tell(?string $queue, Event $event): void
        {
            $this->container['events']->dispatch($event->connection($this->getConnectionName())->queue($queue ?? $this->default));
        }
    }
}

namespace Laravel\Horizon\Connectors {
    use Illuminate\Queue\Connectors\RedisConnector as BaseConnector;
    use Laravel\Horizon\RedisQueue;

    class RedisConnector extends BaseConnector
    {
        /** @return \Illuminate\Contracts\Queue\Queue */
        public function connect(array $config)
        {
            return new RedisQueue(
                $this->redis,
                $config['queue'],
                $config['connection'] ?? $this->connection,
                $config['retry_after'] ?? 60,
                $config['block_for'] ?? null,
                $config['after_commit'] ?? null,
                $config['migration_batch_size'] ?? -1,
            );
        }
    }
}
