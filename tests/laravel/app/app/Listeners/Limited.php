<?php

declare(strict_types=1);

namespace App\Listeners;

use App\Happened;
use App\Journal;
use Illuminate\Contracts\Queue\ShouldQueue;
use Illuminate\Queue\InteractsWithQueue;
use Illuminate\Queue\Jobs\BeanstalkdJob;
use Illuminate\Queue\Jobs\DatabaseJob;
use Illuminate\Queue\Jobs\RedisJob;
use Illuminate\Queue\Jobs\SqsJob;
use RuntimeException;
use Throwable;

/** A queued listener with limits and a queue of its own, that always throws. */
class Limited implements ShouldQueue
{
    use InteractsWithQueue;

    /** @var int */
    public $tries = 2;

    /** @var int */
    public $timeout = 44;

    /** @var int */
    public $backoff = 25;

    public function viaQueue(): string
    {
        return 'listeners';
    }

    public function handle(Happened $event): void
    {
        $driver = match (true) {
            $this->job instanceof RedisJob => 'redis',
            $this->job instanceof DatabaseJob => 'database',
            $this->job instanceof SqsJob => 'sqs',
            $this->job instanceof BeanstalkdJob => 'beanstalkd',
            default => get_class($this->job),
        };
        Journal::write('start', ['class' => 'Limited', 'x' => $event->x, 'driver' => $driver] + Journal::about($this->job));

        throw new RuntimeException('thrown on purpose');
    }

    public function failed(Happened $event, Throwable $e): void
    {
        Journal::write('failed', ['class' => 'Limited', 'x' => $event->x, 'exception' => get_class($e)]);
    }
}
