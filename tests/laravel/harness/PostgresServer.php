<?php

declare(strict_types=1);

namespace Kqueue\Tests;

use PDO;

final class PostgresServer extends DatabaseServer
{
    /** The user to run as in place of root, which PostgreSQL refuses. */
    private const NOBODY = 65534;

    protected function initialise(): void
    {
        file_put_contents($this->home . '/password', self::PASSWORD);
        if (posix_geteuid() === 0) {
            chown($this->home, self::NOBODY);
            chown($this->home . '/password', self::NOBODY);
        }
        $this->run([...$this->bin('initdb'), '-D', $this->home . '/data', '-A', 'scram-sha-256', '--pwfile=' . $this->home . '/password', '-U', self::USER, '-E', 'UTF8', '--locale=C.UTF-8', '--no-sync']);
    }

    protected function furnish(): void
    {
    }

    protected function follow(DatabaseServer $replica): void
    {
        posix_geteuid() === 0 && chown($replica->home, self::NOBODY);
        $this->run([
            'env', 'PGPASSWORD=' . self::PASSWORD, ...$this->bin('pg_basebackup'), '-h', '127.0.0.1', '-p', (string) $this->port, '-U', self::USER,
            '-D', $replica->home . '/data', '-R', '-X', 'stream', '-c', 'fast', '--no-sync',
        ]);
        $replica->launch();
        $this->set("synchronous_standby_names = '*'");
        Wait::until(fn (): bool => $this->connect()->query('select sync_state from pg_stat_replication')->fetchColumn() === 'sync', 'the replica to follow', 30.0);
    }

    protected function promote(): void
    {
        $this->connect()->query('select pg_promote()');
    }

    public function refuseWrites(): void
    {
        $this->set('default_transaction_read_only = on');
        $this->connect()->query('select pg_terminate_backend(pid) from pg_stat_activity where datname <> current_database() and pid <> pg_backend_pid()');
    }

    private function set(string $setting): void
    {
        $this->connect()->exec("alter system set {$setting}");
        $this->connect()->query('select pg_reload_conf()');
    }

    protected function command(): array
    {
        return [
            ...$this->bin('postgres'), '-D', $this->home . '/data', '-p', (string) $this->port, '-k', '', '-h', '127.0.0.1',
            '-c', 'fsync=off', '-c', 'max_connections=200', '-c', 'shared_buffers=64MB',
        ];
    }

    protected function ending(): int
    {
        return SIGINT;
    }

    public function connect(?string $database = null): PDO
    {
        return $this->pdo("pgsql:host=127.0.0.1;port={$this->port};dbname=" . ($database ?? 'postgres'), self::USER, self::PASSWORD);
    }

    /** Debian has a directory for the programs of each version. @return list<string> */
    private function bin(string $name): array
    {
        $found = glob("/usr/lib/postgresql/*/bin/{$name}") ?: [$name];
        $nobody = posix_geteuid() === 0 ? ['setpriv', '--reuid', (string) self::NOBODY, '--regid', (string) self::NOBODY, '--clear-groups', '--pdeathsig', 'KILL'] : [];

        return [...$nobody, end($found)];
    }
}
