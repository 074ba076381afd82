<?php

declare(strict_types=1);

namespace Kqueue\Tests;

use Redis;
use RuntimeException;

/**
 * A Redis server: one of the test's own, on a free port, with nothing on disk but its log; or one that runs already.
 */
final class RedisServer implements Server
{
    /** @var resource|null */
    private $process;

    private int $pid = 0;

    private function __construct(public readonly string $dir, public readonly int $port)
    {
    }

    public static function start(string $dir): self
    {
        is_dir($dir) || mkdir($dir, 0700, true);
        $server = new self($dir, Ports::free());
        $server->launch();

        return $server;
    }

    /** A server that is started and stopped elsewhere. */
    public static function running(int $port = 6379): self
    {
        return new self('', $port);
    }

    public function launch(): void
    {
        $log = ['file', $this->dir . '/redis.log', 'a'];
        $this->process = proc_open([
            ...Processes::BOUND, 'redis-server', '--port', (string) $this->port, '--bind', '127.0.0.1', '--dir', $this->dir,
            '--save', '', '--appendonly', 'no', '--daemonize', 'no', '--databases', '16',
            // A script that moves a hundred thousand jobs may take long on a busy machine: other clients wait for it.
            '--lua-time-limit', '0',
        ], [['file', '/dev/null', 'r'], $log, $log], $pipes, $this->dir) ?: throw new RuntimeException('cannot start redis-server');
        $this->pid = proc_get_status($this->process)['pid'];
        Wait::until(fn (): bool => $this->answers(), 'redis-server to answer');
    }

    /** Moves it to a disk of $megabytes MB, and has it save each second in which something has changed. */
    public function confine(int $megabytes): Disk
    {
        $this->shutDown();
        $disk = Disk::below($this->dir, $megabytes);
        $this->launch();
        $this->client()->config('SET', 'save', '1 1');

        return $disk;
    }

    public function runs(): bool
    {
        return $this->process !== null && proc_get_status($this->process)['running'];
    }

    public function stop(): void
    {
        if ($this->process !== null) {
            posix_kill($this->pid, SIGKILL);
            proc_close($this->process);
            $this->process = null;
        }
    }

    /** Shuts it down in order, with a save: its data is back after `launch()`. */
    public function shutDown(): void
    {
        try {
            $this->client()->rawCommand('SHUTDOWN', 'SAVE');
        } catch (\RedisException) {
            // It closes the connection instead of replying.
        }
        proc_close($this->process);
        $this->process = null;
    }

    public function pause(): void
    {
        posix_kill($this->pid, SIGSTOP);
    }

    public function resume(): void
    {
        posix_kill($this->pid, SIGCONT);
    }

    public function client(): Redis
    {
        $redis = new Redis();
        $redis->connect('127.0.0.1', $this->port, 2.0);

        return $redis;
    }

    private function answers(): bool
    {
        try {
            return (bool) $this->client()->ping();
        } catch (\RedisException) {
            return false;
        }
    }
}
