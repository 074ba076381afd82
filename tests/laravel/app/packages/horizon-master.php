<?php

/**
 * Stands in for the side of Laravel Horizon that its master serves: contracts, records, listeners and commands with the
 * names, the constructors and the keys that kqueue deals with.
 */

declare(strict_types=1);

namespace Laravel\Horizon\Contracts {
    use Laravel\Horizon\MasterSupervisor;
    use Laravel\Horizon\Supervisor;

    interface JobRepository
    {
        public function trimRecentJobs();

        public function trimFailedJobs();

        public function trimMonitoredJobs();
    }

    interface MasterSupervisorRepository
    {
        public function update(MasterSupervisor $master);

        public function forget($name);

        public function flushExpired();
    }

    interface SupervisorRepository
    {
        public function all();

        public function update(Supervisor $supervisor);

        public function forget($names);

        public function flushExpired();
    }

    interface HorizonCommandQueue
    {
        public function push($name, $command, array $options = []);

        public function pending($name);

        public function flush($name);
    }

    interface Terminable
    {
        public function terminate($status = 0);
    }

    interface Pausable
    {
        public function pause();

        public function continue();
    }

    interface Restartable
    {
        public function restart();
    }
}

namespace Laravel\Horizon\Events {
    use Laravel\Horizon\MasterSupervisor;
    use Laravel\Horizon\Supervisor;

    class MasterSupervisorLooped
    {
        public function __construct(public MasterSupervisor $master)
        {
        }
    }

    class SupervisorLooped
    {
        public function __construct(public Supervisor $supervisor)
        {
        }
    }

    class LongWaitDetected
    {
        public function __construct(public $connection, public $queue, public $seconds)
        {
        }
    }
}

namespace Laravel\Horizon {
    use Illuminate\Contracts\Queue\Factory;
    use Laravel\Horizon\Contracts\Pausable;
    use Laravel\Horizon\Contracts\Restartable;
    use Laravel\Horizon\Contracts\SupervisorRepository;
    use Laravel\Horizon\Contracts\Terminable;
    use LogicException;

    class SupervisorOptions
    {
        public $maxProcesses = 1;

        public $memory = 128;

        public $timeout = 60;

        public $maxTries = 0;

        public function __construct(public $name, public $connection, public $queue = null)
        {
        }
    }

    class WaitTimeCalculator
    {
        public $queue;

        public function __construct(Factory $queue, private SupervisorRepository $supervisors)
        {
            $this->queue = $queue;
        }

        /** @return array<string, float> seconds by connection and queue; a job takes one, as far as is known here */
        public function calculate(): array
        {
            $waits = [];
            foreach ($this->supervisors->all() as $supervisor) {
                foreach ((array) $supervisor->processes as $at => $processes) {
                    [$connection, $queue] = explode(':', $at, 2);
                    $waits[$at] = $this->queue->connection($connection)->readyNow($queue) / max(1, $processes);
                }
            }

            return $waits;
        }
    }

    /** What both have. */
    trait Governs
    {
        public $name;

        public $working = true;

        public $output;

        public function restart()
        {
        }

        public function pause()
        {
        }

        public function continue()
        {
        }

        public function terminate($status = 0)
        {
        }

        public function pid()
        {
            return getmypid();
        }

        public function memoryUsage()
        {
            return memory_get_usage() / 1024 / 1024;
        }
    }

    class MasterSupervisor implements Pausable, Restartable, Terminable
    {
        use Governs;

        public $environment;

        public $supervisors;

        public function __construct(?string $environment = null)
        {
            throw new LogicException('a master of Horizon\'s own');
        }

        public static function basename()
        {
            return 'machine';
        }
    }

    class Supervisor implements Pausable, Restartable, Terminable
    {
        use Governs;

        public $options;

        public $processPools;

        public function __construct(SupervisorOptions $options)
        {
            throw new LogicException('a supervisor of Horizon\'s own starts processes');
        }

        public function pruneTerminatingProcesses()
        {
            throw new LogicException('there are no processes of Horizon\'s own');
        }
    }
}

namespace Laravel\Horizon\SupervisorCommands {
    use Laravel\Horizon\Contracts\Pausable;
    use Laravel\Horizon\Contracts\Restartable;
    use Laravel\Horizon\Contracts\Terminable;

    class Pause
    {
        public function process(Pausable $pausable)
        {
            $pausable->pause();
        }
    }

    class ContinueWorking
    {
        public function process(Pausable $pausable)
        {
            $pausable->continue();
        }
    }

    class Restart
    {
        public function process(Restartable $restartable)
        {
            $restartable->restart();
        }
    }

    class Terminate
    {
        public function process(Terminable $terminable, array $options)
        {
            $terminable->terminate($options['status'] ?? 0);
        }
    }
}

namespace Kqueue\Tests\Horizon {
    use Illuminate\Redis\Connections\Connection;
    use Laravel\Horizon\Contracts;
    use Laravel\Horizon\Events\LongWaitDetected;
    use Laravel\Horizon\MasterSupervisor;
    use Laravel\Horizon\Supervisor;
    use Laravel\Horizon\WaitTimeCalculator;

    /** Horizon's records, in the app's own Redis. */
    final class Records implements Contracts\JobRepository, Contracts\MasterSupervisorRepository, Contracts\SupervisorRepository, Contracts\HorizonCommandQueue
    {
        /** Seconds for which jobs are listed. */
        private const KEPT = 3600;

        public function __construct(private string $kind)
        {
        }

        public function trimRecentJobs()
        {
            $this->trim('recent_jobs');
        }

        public function trimFailedJobs()
        {
            $this->trim('failed_jobs');
        }

        public function trimMonitoredJobs()
        {
            $this->trim('monitored_jobs');
        }

        /** Scores are times below zero, so that the latest come first. */
        private function trim(string $index): void
        {
            $this->redis()->zremrangebyscore("horizon:{$index}", (string) (self::KEPT - time()), '+inf');
        }

        public function all()
        {
            return array_map(
                fn ($name) => json_decode((string) $this->redis()->get("horizon:{$this->kind}:{$name}"), false),
                $this->redis()->zrangebyscore("horizon:{$this->kind}s", (string) (time() - 14), '+inf'),
            );
        }

        public function update(MasterSupervisor|Supervisor $one)
        {
            $record = ['name' => $one->name, 'pid' => $one->pid(), 'status' => $one->working ? 'running' : 'paused'];
            if ($one instanceof Supervisor) {
                foreach ($one->processPools as $pool) {
                    $record['processes'][$one->options->connection . ':' . $pool->queue()] = count($pool->processes());
                }
                $record['options'] = (array) $one->options;
            } else {
                $record['supervisors'] = $one->supervisors->map->name->all();
                $record['environment'] = $one->environment;
            }
            $this->redis()->setex("horizon:{$this->kind}:{$one->name}", 15, json_encode($record));
            $this->redis()->zadd("horizon:{$this->kind}s", time(), $one->name);
        }

        public function forget($names)
        {
            foreach ((array) $names as $name) {
                $this->redis()->del("horizon:{$this->kind}:{$name}");
                $this->redis()->zrem("horizon:{$this->kind}s", $name);
            }
        }

        public function flushExpired()
        {
            $this->redis()->zremrangebyscore("horizon:{$this->kind}s", '-inf', (string) (time() - 14));
        }

        public function push($name, $command, array $options = [])
        {
            $this->redis()->rpush("horizon:commands:{$name}", json_encode(compact('command', 'options')));
        }

        public function pending($name)
        {
            $commands = $this->redis()->lrange("horizon:commands:{$name}", 0, -1);
            $this->redis()->ltrim("horizon:commands:{$name}", count($commands), -1);

            return array_map(static fn (string $command): object => (object) json_decode($command, true), $commands);
        }

        public function flush($name)
        {
            $this->redis()->del("horizon:commands:{$name}");
        }

        private function redis(): Connection
        {
            return app('redis')->connection();
        }
    }

    final class MonitorWaits
    {
        public function handle(): void
        {
            foreach (app(WaitTimeCalculator::class)->calculate() as $at => $wait) {
                $wait > 3 && event(new LongWaitDetected(...[...explode(':', $at, 2), $wait]));
            }
        }
    }
}
