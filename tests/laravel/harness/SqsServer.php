<?php

declare(strict_types=1);

namespace Kqueue\Tests;

use RuntimeException;

/** `tests/servers/moto`: it keeps everything in memory, and creates queues on demand. */
final class SqsServer implements Server
{
    public const ACCOUNT = '123456789012';

    /** Seconds for which a received message is hidden. */
    private const VISIBILITY = 90;

    private const LENT = 'KQUEUE_TEST_SQS';

    /** Environment variable with the latency of a request and its reply, in milliseconds; none if unset. */
    public const LATENCY = 'KQUEUE_TEST_SQS_LATENCY';

    /** @var resource|null */
    private $relay;

    /** The port of the relay, or of the server itself. */
    private int $way;

    private static ?self $lent = null;

    /** Seconds within which it has to answer; the first start downloads it. */
    private const PATIENCE = 300.0;

    /** @var resource|null */
    private $process;

    private int $pid = 0;

    private function __construct(private readonly string $dir, public readonly int $port)
    {
        $this->way = $port;
    }

    public static function start(string $dir): self
    {
        // One that was started outside of the present root file system, which has no Python.
        if (($lent = (int) getenv(self::LENT)) > 0) {
            return new self($dir, $lent);
        }
        is_dir($dir) || mkdir($dir, 0700, true);
        $server = new self($dir, Ports::free());
        $server->launch();

        return $server;
    }

    /** Starts one for the suite in another root file system, which is about to replace this process. */
    public static function lend(): void
    {
        $server = self::start(sys_get_temp_dir());
        putenv(self::LENT . "={$server->port}");
        // Referenced, so that it runs until this process ends.
        self::$lent = $server;
    }

    public function url(): string
    {
        return "http://127.0.0.1:{$this->way}";
    }

    public function launch(): void
    {
        $log = ['file', $this->dir . '/sqs.log', 'a'];
        $command = [...Processes::BOUND, dirname(__DIR__, 2) . '/servers/moto', (string) $this->port, '--create', (string) self::VISIBILITY];
        $this->process = proc_open($command, [['file', '/dev/null', 'r'], $log, $log], $pipes, $this->dir) ?: throw new RuntimeException('cannot start moto');
        $this->pid = proc_get_status($this->process)['pid'];
        Wait::until(function (): bool {
            proc_get_status($this->process)['running'] || throw new RuntimeException('moto ended: ' . file_get_contents($this->dir . '/sqs.log'));

            return @file_get_contents($this->url() . '/test') !== false;
        }, 'moto to answer', self::PATIENCE);
        (string) getenv(self::LATENCY) === '' || $this->goLongWay((string) getenv(self::LATENCY));
    }

    private function goLongWay(string $milliseconds): void
    {
        $way = Ports::free();
        $command = [...Processes::BOUND, dirname(__DIR__, 2) . '/servers/relay', (string) $way, (string) $this->port, $milliseconds];
        $this->relay = proc_open($command, [['file', '/dev/null', 'r'], ['file', '/dev/null', 'w'], STDERR], $pipes) ?: throw new RuntimeException('cannot start the relay');
        Wait::until(static fn (): bool => @stream_socket_client("tcp://127.0.0.1:{$way}") !== false, 'the relay to listen');
        $this->way = $way;
    }

    public function stop(): void
    {
        if ($this->process !== null) {
            posix_kill($this->pid, SIGKILL);
            proc_close($this->process);
            $this->process = null;
        }
        if ($this->relay !== null) {
            proc_terminate($this->relay, SIGKILL);
            proc_close($this->relay);
            $this->relay = null;
        }
    }

    public function shutDown(): void
    {
        throw new RuntimeException('what is in it would be lost');
    }

    public function pause(): void
    {
        posix_kill($this->pid, SIGSTOP);
    }

    public function resume(): void
    {
        posix_kill($this->pid, SIGCONT);
    }

    /**
     * Calls the server's test interface.
     *
     * @param array<string, mixed>|null $order
     * @return list<mixed>
     */
    public function ask(string $queue = '', ?array $order = null): array
    {
        $options = $order === null ? [] : ['method' => 'POST', 'header' => 'Content-Type: application/json', 'content' => json_encode($order)];
        $answer = file_get_contents($this->url() . '/test' . ($queue === '' ? '' : "/{$queue}"), false, stream_context_create(['http' => $options]));

        return json_decode((string) $answer, true, 512, JSON_THROW_ON_ERROR);
    }
}
