<?php

declare(strict_types=1);

namespace Kqueue\Tests;

use PDO;
use PDOException;
use RuntimeException;

/** A database server on a free port of the loopback, with its data in a directory that is removed with the run. */
abstract class DatabaseServer implements Server
{
    public const USER = 'laravel';

    public const PASSWORD = 's3cret';

    /** @var resource|null */
    private $process;

    public int $port;

    /** The directory of its data: the replica's, after a failover. */
    protected string $home;

    protected ?self $replica = null;

    final private function __construct(public readonly string $dir)
    {
        $this->port = Ports::free();
        $this->home = $dir;
    }

    public static function start(string $dir): static
    {
        is_dir($dir) || mkdir($dir, 0755, true);
        $server = new static($dir);
        $server->initialise();
        $server->launch();
        $server->furnish();

        return $server;
    }

    /** Makes the data directory. */
    abstract protected function initialise(): void;

    /** Creates the user and what else an app needs, once the server answers. */
    abstract protected function furnish(): void;

    /** @return list<string> */
    abstract protected function command(): array;

    /** The signal for an orderly shutdown. */
    abstract protected function ending(): int;

    abstract public function connect(?string $database = null): PDO;

    /** Copies the data to a replica, and starts replication. */
    abstract protected function follow(self $replica): void;

    /** Promotes a replica, once it has applied all that it received. */
    abstract protected function promote(): void;

    /** Rejects writes of an app's user, like a server that has become a replica. */
    abstract public function refuseWrites(): void;

    /** Adds a synchronous replica, which has everything that is acknowledged from now on. */
    public function replicate(): void
    {
        $this->replica = clone $this;
        $this->replica->home = $this->dir . '-replica';
        $this->replica->port = Ports::free();
        $this->replica->process = null;
        mkdir($this->replica->home, 0755);
        $this->follow($this->replica);
    }

    /** Kills it, and puts its replica in its place. */
    public function failOver(): void
    {
        $this->stop();
        $this->replica->promote();
        $this->replica->shutDown();
        $this->home = $this->replica->home;
        $this->replica = null;
        $this->launch();
    }

    /** Moves it to a disk of $megabytes MB. */
    public function confine(int $megabytes): Disk
    {
        $this->shutDown();
        $disk = Disk::below($this->home, $megabytes);
        $this->launch();

        return $disk;
    }

    public function runs(): bool
    {
        return $this->process !== null && proc_get_status($this->process)['running'];
    }

    public function launch(): void
    {
        $this->process = $this->spawn($this->command());
        Wait::until(fn (): bool => $this->answers(), basename($this->command()[0]) . ' to answer', 30.0);
    }

    public function stop(): void
    {
        $this->end(SIGKILL);
    }

    public function shutDown(): void
    {
        $this->end($this->ending());
    }

    public function pause(): void
    {
        Processes::kill(SIGSTOP, ...$this->processes());
    }

    public function resume(): void
    {
        Processes::kill(SIGCONT, ...$this->processes());
    }

    /** Runs a tool of the server's to its end. @param list<string> $command */
    protected function run(array $command): void
    {
        $process = $this->spawn($command);
        $status = proc_close($process);
        $status === 0 || throw new RuntimeException("{$command[0]} ended with {$status}: " . file_get_contents($this->log()));
    }

    protected function pdo(string $dsn, string $user, string $password): PDO
    {
        return new PDO($dsn, $user, $password, [
            PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION,
            PDO::ATTR_DEFAULT_FETCH_MODE => PDO::FETCH_ASSOC,
            PDO::ATTR_TIMEOUT => 5,
        ]);
    }

    /** @param list<string> $command @return resource */
    private function spawn(array $command)
    {
        $log = ['file', $this->log(), 'a'];

        return proc_open([...Processes::BOUND, ...$command], [['file', '/dev/null', 'r'], $log, $log], $pipes, $this->dir)
            ?: throw new RuntimeException("cannot start {$command[0]}");
    }

    private function log(): string
    {
        return $this->home . '/server.log';
    }

    private function end(int $signal): void
    {
        if ($this->process !== null) {
            // In an orderly shutdown, the server ends its children itself.
            Processes::kill($signal, ...($signal === SIGKILL ? $this->processes() : [$this->processes()[0]]));
            proc_close($this->process);
            $this->process = null;
        }
    }

    /** @return list<int> the server, and what it has forked for its connections */
    private function processes(): array
    {
        $pid = proc_get_status($this->process)['pid'];

        return [$pid, ...Processes::descendants($pid)];
    }

    private function answers(): bool
    {
        try {
            $this->connect();

            return true;
        } catch (PDOException $e) {
            proc_get_status($this->process)['running'] || throw new RuntimeException('the server has ended: ' . file_get_contents($this->log()), previous: $e);

            return false;
        }
    }
}
