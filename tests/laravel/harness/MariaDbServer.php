<?php

declare(strict_types=1);

namespace Kqueue\Tests;

use PDO;

final class MariaDbServer extends DatabaseServer
{
    /** @var list<string> */
    private array $role = ['--skip-log-bin'];

    protected function initialise(): void
    {
        $this->run(['mariadb-install-db', '--no-defaults', '--datadir=' . $this->data(), $this->temporary(), '--auth-root-authentication-method=normal', '--skip-test-db', ...$this->user()]);
    }

    protected function furnish(): void
    {
        $this->connect()->exec(sprintf("create user %s@'127.0.0.1' identified by '%s'; grant all on *.* to %1\$s@'127.0.0.1'", self::USER, self::PASSWORD));
    }

    protected function follow(DatabaseServer $replica): void
    {
        $this->shutDown();
        $this->run(['cp', '-a', $this->data(), $replica->data()]);
        $this->role = ['--server-id=1', '--log-bin=binlog', '--rpl-semi-sync-master-enabled=ON', '--rpl-semi-sync-master-timeout=60000'];
        $replica->role = ['--server-id=2', '--skip-log-bin', '--read-only', '--rpl-semi-sync-slave-enabled=ON'];
        $this->launch();
        $replica->launch();
        $replica->connect()->exec(sprintf(
            "change master to master_host='127.0.0.1', master_port=%d, master_user='%s', master_password='%s', master_log_file='binlog.000001', master_log_pos=4",
            $this->port,
            self::USER,
            self::PASSWORD,
        ));
        $replica->connect()->exec('start slave');
        Wait::until(fn (): bool => (int) ($this->connect()->query("show status like 'Rpl_semi_sync_master_clients'")->fetch()['Value'] ?? 0) === 1, 'the replica to follow', 30.0);
    }

    protected function promote(): void
    {
        $at = fn (): array => $this->connect()->query('show slave status')->fetch();
        Wait::until(static fn (): bool => ($now = $at())['Read_Master_Log_Pos'] === $now['Exec_Master_Log_Pos'] && $now['Master_Log_File'] === $now['Relay_Master_Log_File'], 'the replica to have done all that it was sent', 30.0);
        $this->connect()->exec('stop slave');
        $this->connect()->exec('reset slave all');
    }

    public function refuseWrites(): void
    {
        // `read_only` does not apply to users with these privileges.
        $this->connect()->exec(sprintf("revoke super, read_only admin on *.* from %s@'127.0.0.1'", self::USER));
        $this->connect()->exec('set global read_only = 1');
        $this->connect()->exec(sprintf("kill user %s@'127.0.0.1'", self::USER));
    }

    protected function command(): array
    {
        return [
            'mariadbd', '--no-defaults', '--datadir=' . $this->data(), $this->temporary(), '--port=' . $this->port, '--bind-address=127.0.0.1',
            '--socket=' . $this->socket(), '--pid-file=' . $this->home . '/server.pid', ...$this->role, '--skip-name-resolve',
            '--innodb-buffer-pool-size=64M', '--innodb-flush-log-at-trx-commit=2', '--max-connections=200', ...$this->user(),
        ];
    }

    protected function ending(): int
    {
        return SIGTERM;
    }

    public function connect(?string $database = null): PDO
    {
        return $this->pdo('mysql:unix_socket=' . $this->socket() . ($database === null ? '' : ";dbname={$database}"), 'root', '');
    }

    private function data(): string
    {
        return $this->home . '/data';
    }

    /** A directory of its own: a starting server removes all temporary tables that it finds, also another server's. */
    private function temporary(): string
    {
        return '--tmpdir=' . $this->home;
    }

    /** Short: the path of a socket has at most 107 bytes. */
    private function socket(): string
    {
        return sys_get_temp_dir() . "/kqueue-mariadb-{$this->port}.sock";
    }

    /** It runs as root only where it is told to. @return list<string> */
    private function user(): array
    {
        return posix_geteuid() === 0 ? ['--user=root'] : [];
    }
}
