<?php

declare(strict_types=1);

namespace Kqueue\Tests\Machine;

use App\Jobs\Waits;
use Kqueue\Tests\RedisServer;

/** A machine on which nothing of kqueue is, and repositories with two versions of its packages. */
final class Packaged extends Machine
{
    public const OLD = '0.1.0';
    public const NEW = '0.1.1';

    /** Where jobs of Waits look. */
    public const GATE = '/srv/shop/gate';

    private const LOOK_OUTSIDE = ['/proc', '/sys', '/dev', '/run', '/tmp', '/srv', '/home', '/root', '/opt', '/var/log', '/var/cache', '/var/tmp', '/var/lib/apt', '/var/lib/dpkg', '/var/lib/dnf', '/var/lib/redis', '/var/lib/rpm'];

    /** Runs APT as an operator's script would, and gives what it said. */
    public function apt(string $command): string
    {
        $outcome = $this->sh("apt-get -y -q -o Dpkg::Use-Pty=0 {$command} 2>&1", env: ['DEBIAN_FRONTEND' => 'noninteractive']);
        $this->expect($outcome->ok(), "apt-get {$command}: " . $outcome->text());

        return $outcome->output;
    }

    /** Brings kqueue to this version, up or down. */
    public function install(string $version = self::OLD): string
    {
        return $this->apt("install --allow-downgrades kqueue={$version}");
    }

    /** What an operator does for an app. */
    public function init(string $more = ''): void
    {
        $this->must('kqueue init shop --path /srv/shop');
        if ($more !== '') {
            file_put_contents('/etc/kqueue/shop.toml', $more, FILE_APPEND);
            $this->must('systemctl daemon-reload');
        }
    }

    /** Starts a job in each of these tiers that goes on until the gate opens, and gives their uuids. */
    public function hold(string ...$tiers): array
    {
        @unlink(self::GATE);
        $before = count($this->effects('start'));
        $uuids = $this->dispatchAll(array_map(static fn (string $tier): Waits => new Waits(self::GATE, $tier), $tiers));
        $this->waitForEffects('start', $before + count($tiers));

        return $uuids;
    }

    public function open(): void
    {
        touch(self::GATE);
    }

    /** Whether a process runs the program that is installed now. */
    public function isCurrent(int $pid, string $program): bool
    {
        clearstatcache();

        return @fileinode("/proc/{$pid}/exe") === fileinode($program);
    }

    /** The file that /proc/PID/exe was when a package put it there is another one now. */
    public function runtimeIsCurrent(): bool
    {
        return ($pid = $this->runtime()->pid()) > 0 && $this->isCurrent($pid, '/usr/bin/kqueue');
    }

    /** @return list<string> every file and directory that a package, or what it started, might leave */
    public function files(): array
    {
        $prune = implode(' -o ', array_map(static fn (string $dir): string => "-path {$dir}", self::LOOK_OUTSIDE));
        $files = explode("\n", trim($this->must("find / \\( {$prune} \\) -prune -o -print | sort; find /run/systemd /run/kqueue -name '*kqueue*' ! -name 'kqueue-test*' ! -path '/run/systemd/units/*' 2>/dev/null | sort || true")));

        // Databases of others, written whole each time.
        return array_values(array_filter($files, static fn (string $file): bool => ! preg_match('#^/(etc/(passwd|group|g?shadow)-?$|etc/ld.so.cache|etc/\.pwd\.lock|etc/systemd/system\.control$|var/lib/systemd)#', $file)));
    }

    /** Nothing of kqueue is there, by whatever it was installed. */
    public function reset(): void
    {
        $this->sh(<<<'SH'
            touch /srv/shop/gate
            set -f
            units="kqueue@*.service kqueue-worker@*.service kqueue-shop-*.scope kqueue.service"
            systemctl stop --no-block kqueue@*.socket kqueue-control@*.socket kqueue.socket $units
            systemctl kill -s KILL $units
            timeout 60 systemctl stop kqueue@*.socket kqueue-control@*.socket kqueue.socket $units
            set +f
            dpkg -s kqueue >/dev/null || [ ! -e /usr/bin/kqueue ] || dnf -y -q remove kqueue
            apt-get -q update
            DEBIAN_FRONTEND=noninteractive apt-get -y -q purge kqueue
            rm -rf /etc/kqueue /var/lib/kqueue
            systemctl daemon-reload
            systemctl reset-failed
            rm -f /srv/shop/gate
            systemctl start redis-server.service
            SH);
        RedisServer::running()->client()->flushAll();
        $this->shop->reset();
        $this->expectSame([], $this->unitsLike('kqueue*'), 'units that are left');
        $this->expect(! file_exists('/usr/bin/kqueue'), 'kqueue is not installed');
    }
}
