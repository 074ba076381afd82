<?php

declare(strict_types=1);

namespace Kqueue\Tests;

use RuntimeException;

/** A beanstalkd on a free port of the loopback, with its binlog in a directory that is removed with the run. */
final class BeanstalkdServer implements Server
{
    /** @var resource|null */
    private $process;

    /** @var resource|null */
    private $connection;

    private function __construct(private readonly string $dir, public readonly int $port)
    {
    }

    public static function start(string $dir): self
    {
        is_dir("{$dir}/binlog") || mkdir("{$dir}/binlog", 0755, true);
        $server = new self($dir, Ports::free());
        $server->launch();

        return $server;
    }

    public function launch(): void
    {
        $log = ['file', $this->dir . '/beanstalkd.log', 'a'];
        $command = [...Processes::BOUND, 'beanstalkd', '-l', '127.0.0.1', '-p', (string) $this->port, '-b', $this->dir . '/binlog'];
        $this->process = proc_open($command, [['file', '/dev/null', 'r'], $log, $log], $pipes, $this->dir) ?: throw new RuntimeException('cannot start beanstalkd');
        Wait::until(fn (): bool => $this->answers(), 'beanstalkd to answer');
    }

    public function stop(): void
    {
        $this->end(SIGKILL);
    }

    public function shutDown(): void
    {
        $this->end(SIGTERM);
    }

    public function pause(): void
    {
        posix_kill(proc_get_status($this->process)['pid'], SIGSTOP);
    }

    public function resume(): void
    {
        posix_kill(proc_get_status($this->process)['pid'], SIGCONT);
    }

    /**
     * Sends one command of its protocol.
     *
     * @return array{0: list<string>, 1: string} the words of the reply, and its body
     */
    public function ask(string $command, ?string $body = null): array
    {
        $this->connection ??= stream_socket_client("tcp://127.0.0.1:{$this->port}", timeout: 5) ?: throw new RuntimeException('beanstalkd does not answer');
        fwrite($this->connection, $command . "\r\n" . ($body === null ? '' : $body . "\r\n"));
        $words = explode(' ', trim((string) fgets($this->connection)));
        $length = in_array($words[0], ['OK', 'FOUND', 'RESERVED'], true) ? (int) end($words) : null;

        return [$words, $length === null ? '' : substr((string) stream_get_contents($this->connection, $length + 2), 0, -2)];
    }

    /** @return array<string, string> the statistics that a command asks for; empty if there is no such job or tube */
    public function stats(string $command): array
    {
        [, $text] = $this->ask($command);
        preg_match_all('/^([a-z-]+): "?(.*?)"?$/m', $text, $found);

        return array_combine($found[1], $found[2]);
    }

    /** @return array<int, array<string, string>> every job that it has, by its number */
    public function jobs(): array
    {
        $jobs = [];
        for ($id = 1, $last = (int) $this->stats('stats')['total-jobs'] + 100; $id <= $last; $id++) {
            if ($stats = $this->stats("stats-job {$id}")) {
                $jobs[$id] = $stats + ['body' => $this->ask("peek {$id}")[1]];
            }
        }

        return $jobs;
    }

    private function answers(): bool
    {
        $socket = @stream_socket_client("tcp://127.0.0.1:{$this->port}", timeout: 1);
        if ($socket === false) {
            proc_get_status($this->process)['running'] || throw new RuntimeException('beanstalkd has ended: ' . file_get_contents($this->dir . '/beanstalkd.log'));

            return false;
        }
        fclose($socket);

        return true;
    }

    private function end(int $signal): void
    {
        if ($this->process !== null) {
            posix_kill(proc_get_status($this->process)['pid'], $signal);
            proc_close($this->process);
            $this->process = $this->connection = null;
        }
    }
}
