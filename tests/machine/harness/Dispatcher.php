<?php

declare(strict_types=1);

namespace Kqueue\Tests\Machine;

use RuntimeException;

/** The process that queues jobs as the app's user. */
final class Dispatcher
{
    /** @var resource|null */
    private $process = null;

    /** @var array<int, resource> */
    private array $pipes = [];

    public function __construct(private readonly string $app, private readonly string $user)
    {
    }

    /**
     * @param list<object> $jobs
     * @return list<string> their uuids
     */
    public function push(array $jobs, string $queue, ?int $delay): array
    {
        $this->start();
        $requests = array_map(static fn (object $job): array => ['job' => base64_encode(serialize($job)), 'queue' => $queue, 'delay' => $delay], $jobs);
        fwrite($this->pipes[0], json_encode($requests, JSON_THROW_ON_ERROR) . "\n");
        $line = fgets($this->pipes[1]);
        if ($line === false) {
            throw new RuntimeException('the app ended while a job was dispatched');
        }
        $answer = json_decode($line, true, 8, JSON_THROW_ON_ERROR);
        if (isset($answer['error'])) {
            throw new RuntimeException("dispatch: {$answer['error']}");
        }

        return $answer;
    }

    /** Starts the process, which boots the app, unless it runs already. */
    public function start(): void
    {
        if ($this->process !== null) {
            return;
        }
        $command = ['setpriv', "--reuid={$this->user}", "--regid={$this->user}", '--init-groups', '--reset-env', '--', PHP_BINARY, dirname(__DIR__) . '/dispatcher', $this->app];
        $this->process = proc_open($command, [['pipe', 'r'], ['pipe', 'w'], STDERR], $this->pipes) ?: throw new RuntimeException('cannot start the dispatcher');
    }

    /** Kills the process, for when its state is unknown. */
    public function stop(): void
    {
        if ($this->process !== null) {
            array_map('fclose', $this->pipes);
            proc_terminate($this->process, SIGKILL);
            proc_close($this->process);
            $this->process = null;
        }
    }
}
