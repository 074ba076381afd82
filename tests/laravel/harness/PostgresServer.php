<?php

declare(strict_types=1);

namespace Kqueue\Tests;

use PDO;

final class PostgresServer extends DatabaseServer
{
    /** It refuses to run as root. */
    private const NOBODY = 65534;

    protected function initialise(): void
    {
        file_put_contents($this->dir . '/password', self::PASSWORD);
        if (posix_geteuid() === 0) {
            chown($this->dir, self::NOBODY);
            chown($this->dir . '/password', self::NOBODY);
        }
        $this->run([...$this->bin('initdb'), '-D', $this->dir . '/data', '-A', 'scram-sha-256', '--pwfile=' . $this->dir . '/password', '-U', self::USER, '-E', 'UTF8', '--locale=C.UTF-8', '--no-sync']);
    }

    protected function furnish(): void
    {
    }

    protected function command(): array
    {
        return [
            ...$this->bin('postgres'), '-D', $this->dir . '/data', '-p', (string) $this->port, '-k', '', '-h', '127.0.0.1',
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

    /** Debian keeps the programs of each version beside each other. @return list<string> */
    private function bin(string $name): array
    {
        $found = glob("/usr/lib/postgresql/*/bin/{$name}") ?: [$name];
        $nobody = posix_geteuid() === 0 ? ['setpriv', '--reuid', (string) self::NOBODY, '--regid', (string) self::NOBODY, '--clear-groups', '--pdeathsig', 'KILL'] : [];

        return [...$nobody, end($found)];
    }
}
