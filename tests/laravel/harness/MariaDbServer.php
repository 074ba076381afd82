<?php

declare(strict_types=1);

namespace Kqueue\Tests;

use PDO;

final class MariaDbServer extends DatabaseServer
{
    protected function initialise(): void
    {
        $this->run(['mariadb-install-db', '--no-defaults', '--datadir=' . $this->data(), $this->temporary(), '--auth-root-authentication-method=normal', '--skip-test-db', ...$this->user()]);
    }

    protected function furnish(): void
    {
        $this->connect()->exec(sprintf("create user %s@'127.0.0.1' identified by '%s'; grant all on *.* to %1\$s@'127.0.0.1'", self::USER, self::PASSWORD));
    }

    protected function command(): array
    {
        return [
            'mariadbd', '--no-defaults', '--datadir=' . $this->data(), $this->temporary(), '--port=' . $this->port, '--bind-address=127.0.0.1',
            '--socket=' . $this->socket(), '--pid-file=' . $this->dir . '/server.pid', '--skip-log-bin', '--skip-name-resolve',
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
        return $this->dir . '/data';
    }

    /** A server that starts removes the temporary tables that it finds, those of another one too. */
    private function temporary(): string
    {
        return '--tmpdir=' . $this->dir;
    }

    /** Short: a path of a socket has 107 bytes at the most. */
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
