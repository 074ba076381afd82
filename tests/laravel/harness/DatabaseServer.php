<?php

declare(strict_types=1);

namespace Kqueue\Tests;

use PDO;
use PDOException;
use RuntimeException;

/** A database server on a free port of the loopback, its data in a directory that goes with the run. */
abstract class DatabaseServer implements Server
{
    public const USER = 'laravel';

    public const PASSWORD = 's3cret';

    /** @var resource|null */
    private $process;

    public int $port;

    /** Where its data is: another place once its replica is what it is. */
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

    /** The user and what else an app is given, once the server answers. */
    abstract protected function furnish(): void;

    /** @return list<string> */
    abstract protected function command(): array;

    /** The signal by which it ends in order. */
    abstract protected function ending(): int;

    abstract public function connect(?string $database = null): PDO;

    /** Copies its data there, and has that follow it from now on. */
    abstract protected function follow(self $replica): void;

    /** Ends its being a replica, once it has all that it was sent. */
    abstract protected function promote(): void;

    /** Has an app's user turned away as by a server that is a replica by now. */
    abstract public function refuseWrites(): void;

    /** Gives it a replica, which has whatever it acknowledges from now on. */
    public function replicate(): void
    {
        $this->replica = clone $this;
        $this->replica->home = $this->dir . '-replica';
        $this->replica->port = Ports::free();
        $this->replica->process = null;
        mkdir($this->replica->home, 0755);
        $this->follow($this->replica);
    }

    /** It is killed, and its replica takes its place. */
    public function failOver(): void
    {
        $this->stop();
        $this->replica->promote();
        $this->replica->shutDown();
        $this->home = $this->replica->home;
        $this->replica = null;
        $this->launch();
    }

    /** Moves it to a disk of so many MB. */
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

        return proc_open(['setpriv', '--pdeathsig', 'KILL', ...$command], [['file', '/dev/null', 'r'], $log, $log], $pipes, $this->dir)
            ?: throw new RuntimeException("cannot start {$command[0]}");
    }

    private function log(): string
    {
        return $this->home . '/server.log';
    }

    private function end(int $signal): void
    {
        if ($this->process !== null) {
            // A server that is asked ends its children itself.
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
