<?php

declare(strict_types=1);

namespace Kqueue\Tests;

use Redis;
use RedisCluster;
use RuntimeException;

/** Three masters and a replica of each, on free ports of the loopback. */
final class RedisClusterServer implements Server
{
    private const MASTERS = 3;

    private const SLOTS = ['0-5460', '5461-10922', '10923-16383'];

    /** @var array<int, resource> by node */
    private array $processes = [];

    /** @param list<int> $ports masters first */
    private function __construct(private readonly string $dir, public readonly array $ports)
    {
    }

    public static function start(string $dir): self
    {
        $ports = [];
        while (count($ports) < 2 * self::MASTERS) {
            // The nodes communicate on the port 10000 above each.
            $port = Ports::free();
            $port < 50000 && ! in_array($port, $ports, true) && $ports[] = $port;
        }
        $server = new self($dir, $ports);
        foreach ($ports as $node => $port) {
            is_dir("{$dir}/{$node}") || mkdir("{$dir}/{$node}", 0700, true);
            file_put_contents("{$dir}/{$node}/nodes.conf", $server->known($node));
        }
        $server->launch();

        return $server;
    }

    public function launch(): void
    {
        foreach (array_keys($this->ports) as $node) {
            $this->processes[$node] ??= $this->spawn($node);
        }
        $this->settle();
    }

    public function stop(): void
    {
        foreach (array_keys($this->processes) as $node) {
            $this->kill($node);
        }
    }

    public function shutDown(): void
    {
        foreach ($this->processes as $node => $process) {
            try {
                $this->node($node)->rawCommand('SHUTDOWN', 'SAVE');
            } catch (\RedisException) {
                // It closes the connection instead of replying.
            }
            proc_close($process);
        }
        $this->processes = [];
    }

    public function pause(): void
    {
        $this->signal(SIGSTOP);
    }

    public function resume(): void
    {
        $this->signal(SIGCONT);
    }

    /** Fails the master of a key over to its replica, or kills it, and waits until the replica is the master. */
    public function failOver(string $key, bool $dies): void
    {
        $node = $this->owner($key);
        $dies ? $this->kill($node) : $this->node(($node + self::MASTERS) % (2 * self::MASTERS))->rawCommand('CLUSTER', 'FAILOVER');
        Wait::until(fn (): bool => in_array($this->owner($key), [$node + self::MASTERS, $node - self::MASTERS], true), 'the replica to take over', 30.0);
    }

    /** Waits until all running nodes report the cluster as ok, and replicas are connected to their masters. */
    public function settle(): void
    {
        Wait::until(function (): bool {
            foreach (array_keys($this->processes) as $node) {
                try {
                    $redis = $this->node($node);
                    $replication = $redis->info('replication');
                    $up = str_contains($redis->rawCommand('CLUSTER', 'INFO'), 'cluster_state:ok')
                        && ($replication['role'] === 'master' || $replication['master_link_status'] === 'up');
                } catch (\RedisException) {
                    $up = false;
                }
                if (! $up) {
                    return false;
                }
            }

            return true;
        }, 'the cluster to be up', 30.0);
    }

    public function client(): RedisCluster
    {
        return new RedisCluster(null, $this->seeds(), 2.0, 5.0);
    }

    /** @return list<string> */
    public function seeds(): array
    {
        return array_map(static fn (int $port): string => "127.0.0.1:{$port}", $this->ports);
    }

    private function owner(string $key): ?int
    {
        foreach (array_keys($this->processes) as $node) {
            try {
                if ($this->node($node)->rawCommand('TYPE', $key) !== false) {
                    return $node;
                }
            } catch (\RedisException) {
                // Another node has the key, or this one is ending.
            }
        }

        return null;
    }

    private function node(int $node): Redis
    {
        $redis = new Redis();
        $redis->connect('127.0.0.1', $this->ports[$node], 2.0);

        return $redis;
    }

    private function kill(int $node): void
    {
        posix_kill(proc_get_status($this->processes[$node])['pid'], SIGKILL);
        proc_close($this->processes[$node]);
        unset($this->processes[$node]);
    }

    private function signal(int $signal): void
    {
        foreach ($this->processes as $process) {
            posix_kill(proc_get_status($process)['pid'], $signal);
        }
    }

    /** A node's initial nodes.conf, which lists all nodes, as after a restart. */
    private function known(int $myself): string
    {
        $id = static fn (int $node): string => sprintf('%040d', $node);
        $lines = [];
        foreach ($this->ports as $node => $port) {
            $me = $node === $myself ? 'myself,' : '';
            $master = $node - self::MASTERS;
            $lines[] = "{$id($node)} 127.0.0.1:{$port}@" . ($port + 10000) . ' ' . ($master < 0
                ? "{$me}master - 0 0 {$node} connected " . self::SLOTS[$node]
                : "{$me}slave {$id($master)} 0 0 {$master} connected");
        }

        return implode("\n", $lines) . "\nvars currentEpoch 6 lastVoteEpoch 0\n";
    }

    /** @return resource */
    private function spawn(int $node)
    {
        $dir = "{$this->dir}/{$node}";
        $log = ['file', "{$dir}/redis.log", 'a'];

        return proc_open([
            ...Processes::BOUND, 'redis-server', '--port', (string) $this->ports[$node], '--bind', '127.0.0.1', '--dir', $dir,
            '--save', '', '--appendonly', 'no', '--daemonize', 'no', '--lua-time-limit', '0', '--repl-diskless-sync-delay', '0',
            '--cluster-enabled', 'yes', '--cluster-config-file', 'nodes.conf', '--cluster-node-timeout', '3000',
        ], [['file', '/dev/null', 'r'], $log, $log], $pipes, $dir) ?: throw new RuntimeException('cannot start redis-server');
    }
}
