<?php

declare(strict_types=1);

namespace Kqueue\Tests\Machine;

use Closure;
use Kqueue\Tests\Assertions;
use Kqueue\Tests\Failure;
use Kqueue\Tests\Processes;
use Kqueue\Tests\RedisServer;
use Kqueue\Tests\Wait;

/** What a row works with: the machine that it runs on, as root, and the apps on it. */
class Machine
{
    use Assertions;

    /** Microseconds between two polls that each start a process. */
    public const DEAR = 50_000;

    /** Messages of the service manager: sd-messages(3). */
    private const STARTED = '39f53479d3a045ac8e11786248231fbf';
    private const SUCCEEDED = '7ad2d189f7e94e70a38c781354912448';
    private const FAILED = 'd9b373ed55a64feb8242e02dbe79a49c';

    private const CONFIG = '/etc/kqueue/shop.toml';

    /** The app that the system's units run. */
    public readonly App $shop;

    /** The app of a user who has a service manager of their own. */
    public readonly App $laptop;

    /** Factor for all time limits. */
    public readonly float $slowness;

    /** Version of the service manager. */
    public readonly int $systemd;

    private readonly string $config;

    public function __construct(public readonly string $layer, public readonly string $os)
    {
        $this->slowness = $layer === 'vm' ? 15.0 : 1.0;
        $this->systemd = (int) explode(' ', $this->must('systemctl --version'))[1];
        $this->shop = new App($this, '/srv/shop', 'shop');
        $this->laptop = new App($this, '/home/laptop/shop', 'laptop');
        $this->config = is_file(self::CONFIG) ? (string) file_get_contents(self::CONFIG) : '';
    }

    // Commands

    /**
     * Runs a command of the shell.
     *
     * @param string|null $as a user; root without
     * @param array<string, string> $env on top of a plain one
     */
    public function sh(string $command, ?string $as = null, array $env = []): Outcome
    {
        $plain = ['PATH' => '/usr/sbin:/usr/bin:/sbin:/bin', 'HOME' => '/root', 'LANG' => 'C.UTF-8', 'SYSTEMD_COLORS' => '0', 'SYSTEMD_PAGER' => ''];
        $line = ['sh', '-c', $command];
        if ($as !== null) {
            $home = posix_getpwnam($as)['dir'] ?? '/';
            $plain['HOME'] = $home;
            $line = ['setpriv', "--reuid={$as}", "--regid={$as}", '--init-groups', '--', ...$line];
        }
        [$out, $err] = [tmpfile(), tmpfile()];
        // Files, not pipes: processes that the command leaves behind cannot block the reads.
        $process = proc_open($line, [['file', '/dev/null', 'r'], $out, $err], $pipes, '/', $env + $plain);
        $status = proc_close($process);
        rewind($out);
        rewind($err);

        return new Outcome($command, $status, (string) stream_get_contents($out), (string) stream_get_contents($err));
    }

    /** Runs a command that has to succeed, and returns its output. */
    public function must(string $command, ?string $as = null): string
    {
        $outcome = $this->sh($command, $as);
        if (! $outcome->ok()) {
            throw new Failure("`{$command}` ended with {$outcome->status}: " . trim($outcome->text()));
        }

        return $outcome->output;
    }

    /**
     * Starts a command in the background, as a user and a unit; its output goes to a file. It ends with the row.
     *
     * @return array{unit: string, pid: int, log: string}
     */
    public function background(string $command, string $as): array
    {
        $unit = 'kqueue-test-' . bin2hex(random_bytes(4));
        $log = "/run/{$unit}.log";
        $this->must("systemd-run --quiet --collect --unit={$unit} --uid={$as} -p StandardOutput=append:{$log} -p StandardError=append:{$log} -p KillMode=mixed -p WorkingDirectory=~ -- /bin/sh -c " . escapeshellarg("exec {$command}"));

        return ['unit' => $unit, 'pid' => $this->unit("{$unit}.service")->pid(), 'log' => $log];
    }

    // Waiting

    /**
     * Polls until a condition is true, and returns its value.
     *
     * @template T
     * @param Closure(): T $fact
     * @param int $pause microseconds between two polls
     * @return T the first value that is true
     */
    public function waitFor(Closure $fact, string $what, float $seconds = 30, int $pause = 10_000): mixed
    {
        return Wait::until($fact, $what, $seconds * $this->slowness, $pause);
    }

    // The app and its queue

    /** Queues a job through the app, as its user, and returns its uuid. */
    public function dispatch(object $job, string $queue = 'default', ?int $delay = null): string
    {
        return $this->shop->dispatch($job, $queue, $delay);
    }

    /**
     * @param list<object> $jobs
     * @return list<string> their uuids
     */
    public function dispatchAll(array $jobs, string $queue = 'default'): array
    {
        return $this->shop->dispatchAll($jobs, $queue);
    }

    /** @return list<array<string, mixed>> what jobs recorded while they ran, oldest first */
    public function effects(?string $what = null, ?string $uuid = null): array
    {
        return $this->shop->effects($what, $uuid);
    }

    /** @return list<array<string, mixed>> see App */
    public function waitForEffects(string $what, int $count = 1, ?string $uuid = null, float $seconds = 30): array
    {
        return $this->shop->waitForEffects($what, $count, $uuid, $seconds);
    }

    /** @param list<string> $uuids see App */
    public function expectOnce(array $uuids): void
    {
        $this->shop->expectOnce($uuids);
    }

    /** @return list<array<string, mixed>> rows of failed_jobs */
    public function failedJobs(): array
    {
        return $this->shop->failedJobs();
    }

    /** @return array<string, mixed> see App */
    public function waitForFailedJob(?string $uuid = null, float $seconds = 30): array
    {
        return $this->shop->waitForFailedJob($uuid, $seconds);
    }

    // kqueue

    public function unit(string $name): Unit
    {
        return new Unit($this, $name);
    }

    /** The runtime of the app. */
    public function runtime(): Unit
    {
        return $this->unit('kqueue@shop.service');
    }

    public function coordinator(): Unit
    {
        return $this->unit('kqueue.service');
    }

    /** Starts the runtime, and waits until it is ready. */
    public function start(): void
    {
        $this->must('systemctl start kqueue@shop.service');
    }

    /**
     * Overrides the settings that the app has for every row.
     *
     * @param array<string, string|int|bool> $settings
     */
    public function configure(array $settings): void
    {
        [$usual, $lines] = [$this->config, ''];
        foreach ($settings as $key => $value) {
            $usual = preg_replace("/^{$key} = .*\n/m", '', $usual);
            $lines .= $key . ' = ' . json_encode($value, JSON_UNESCAPED_SLASHES) . "\n";
        }
        $this->writeConfig($usual . $lines);
    }

    /** Adds lines to a unit, until the row ends. */
    public function dropIn(string $unit, string $lines): void
    {
        $dir = "/run/systemd/system/{$unit}.d";
        is_dir($dir) || mkdir($dir, 0755, true);
        file_put_contents($dir . '/90-test.conf', $lines);
        $this->must('systemctl daemon-reload');
    }

    /**
     * Sends requests to the coordinator in place of the runtime, from within its unit, and returns the replies.
     *
     * @param list<string|list<array<string, mixed>>> $questions each on a connection of its own: bytes, or
     *   requests, in which the pid `self` stands for the unit's main process and `child` for another one
     * @return list<array{answers: list<array<string, mixed>>, closed: bool}>
     */
    public function askAsRuntime(array $questions): array
    {
        file_put_contents('/run/kqueue-test-questions', json_encode(array_map(
            static fn (string|array $one): array => is_string($one) ? ['bytes' => base64_encode($one)] : ['requests' => $one],
            $questions,
        ), JSON_THROW_ON_ERROR));
        $this->dropIn('kqueue@shop.service', "[Service]\nType=oneshot\nRestart=no\nWatchdogSec=0\nTimeoutStartSec=60\n"
            . "StandardOutput=truncate:/run/kqueue-test-answers\nExecStart=\nExecStart=" . PHP_BINARY . ' ' . dirname(__DIR__) . "/ask\n");
        $this->must('systemctl restart kqueue@shop.service');

        return json_decode((string) file_get_contents('/run/kqueue-test-answers'), true, 32, JSON_THROW_ON_ERROR);
    }

    /** @return array<string, mixed> the output of `kqueue status --json` */
    public function status(?string $as = null): array
    {
        return json_decode($this->must('kqueue status shop --json', $as), true, 32, JSON_THROW_ON_ERROR);
    }

    /** @return list<string> the names of units that are loaded and not inactive, including failed ones */
    public function unitsLike(string ...$patterns): array
    {
        $list = $this->must('systemctl list-units --all --full --no-legend --plain -- ' . implode(' ', array_map('escapeshellarg', $patterns)));
        // A unit that is only referenced is listed as not-found.
        preg_match_all('/^(\S+)\s+(?!not-found)\S+\s+(?!inactive)/m', $list, $found);

        return $found[1];
    }

    /** @return list<string> the units of the pooled workers */
    public function workers(): array
    {
        return $this->unitsLike('kqueue-worker@shop:*.service');
    }

    // Processes

    /** The unit that a process is in, '' for a process that is gone. */
    public function unitOf(int $pid): string
    {
        $groups = (string) @file_get_contents("/proc/{$pid}/cgroup");
        // In a container of a host with cgroups v1, the service manager has a hierarchy of its own.
        if (! preg_match('/^\d+:name=systemd:(.*)$/m', $groups, $path) && ! preg_match('/^0::(.*)$/m', $groups, $path)) {
            return '';
        }
        foreach (array_reverse(explode('/', $path[1])) as $part) {
            if (preg_match('/\.(service|scope)$/', $part)) {
                return $part;
            }
        }

        return $path[1];
    }

    /** @return array<int, string> the unit of every process that is not a thread of the kernel */
    public function units(): array
    {
        $units = [];
        foreach (array_filter(scandir('/proc') ?: [], 'ctype_digit') as $pid) {
            if (@readlink("/proc/{$pid}/exe") !== false && ($unit = $this->unitOf((int) $pid)) !== '') {
                $units[(int) $pid] = $unit;
            }
        }

        return $units;
    }

    /** @return array<int, string> the unit of every PHP process of the app's user, but the harness's own */
    public function phpProcesses(): array
    {
        $uid = posix_getpwnam($this->shop->user)['uid'];

        return array_filter(
            $this->units(),
            fn (string $unit, int $pid): bool => Processes::isPhp($pid) && @fileowner("/proc/{$pid}") === $uid
                && ! str_contains((string) @file_get_contents("/proc/{$pid}/cmdline"), '/kqueue-tests/'),
            ARRAY_FILTER_USE_BOTH,
        );
    }

    // The machine's journal

    /** The cursor of the journal's present end. */
    public function cursor(): string
    {
        // Synced first, so that all messages so far are included.
        $this->sh('journalctl --sync');
        preg_match('/^-- cursor: (.*)$/m', $this->must('journalctl -n 1 --show-cursor --no-pager -q'), $cursor);

        return $cursor[1];
    }

    /**
     * Records of the journal, oldest first.
     *
     * @param string|null $unit as for `journalctl -u`, including the service manager's records about it; null for all
     * @param string|null $since a cursor; the whole boot without
     * @param array<string, string> $fields that a record must have
     * @return list<array<string, mixed>>
     */
    public function journal(?string $unit = null, ?string $since = null, array $fields = []): array
    {
        $this->sh('journalctl --sync');
        $command = 'journalctl -b -q --no-pager -o json'
            . ($unit === null ? '' : ' -u ' . escapeshellarg($unit))
            . ($since === null ? '' : self::after($since));
        foreach ($fields as $name => $value) {
            $command .= ' ' . escapeshellarg("{$name}={$value}");
        }
        $records = [];
        foreach (explode("\n", $this->must($command), -1) as $line) {
            $records[] = json_decode($line, true, 16, JSON_THROW_ON_ERROR);
        }

        return $records;
    }

    /**
     * The option for records after a cursor. By the time in it: with several journal files, systemd 252 does not always
     * find all records after a cursor.
     */
    private static function after(string $cursor): string
    {
        preg_match('/;t=([0-9a-f]+)/', $cursor, $match) ?: throw new \LogicException("no time in the cursor {$cursor}");
        $next = hexdec($match[1]) + 1;

        return sprintf(' --since=@%d.%06d', intdiv($next, 1_000_000), $next % 1_000_000);
    }

    /**
     * Waits for a record whose message contains a text, and returns it.
     *
     * @param array<string, string> $fields
     * @return array<string, mixed>
     */
    public function waitForRecord(string $text, ?string $unit, string $since, array $fields = [], float $seconds = 30): array
    {
        return $this->waitFor(function () use ($text, $unit, $since, $fields): ?array {
            foreach ($this->journal($unit, $since, $fields) as $record) {
                if (str_contains((string) (is_string($record['MESSAGE'] ?? null) ? $record['MESSAGE'] : ''), $text)) {
                    return $record;
                }
            }

            return null;
        }, "'{$text}' in the journal" . ($unit === null ? '' : " of {$unit}"), $seconds, 2 * self::DEAR);
    }

    /**
     * The scopes of the app's jobs since a cursor, in order.
     *
     * @return array<string, Scope> by name
     */
    public function scopes(string $since): array
    {
        $scopes = [];
        foreach ($this->journal(null, $since, ['_PID' => '1']) as $record) {
            $name = $record['UNIT'] ?? '';
            if (! is_string($name) || ! preg_match('/^kqueue-shop-.*\.scope$/', $name)) {
                continue;
            }
            $message = $record['MESSAGE_ID'] ?? '';
            if (in_array($message, [self::STARTED, self::SUCCEEDED, self::FAILED], true)) {
                $scopes[$name] ??= new Scope($name);
                $scopes[$name]->result = match ($message) {
                    self::STARTED => null,
                    self::SUCCEEDED => 'success',
                    self::FAILED => (string) ($record['UNIT_RESULT'] ?? 'failed'),
                };
            }
        }

        return $scopes;
    }

    /** Waits until the app has a scope, and returns its name; the last in systemd's list where there are several. */
    public function waitForScope(float $seconds = 30): string
    {
        return $this->waitFor(function (): string|false {
            $names = $this->unitsLike('kqueue-shop-*.scope');

            return end($names);
        }, 'a scope of the app', $seconds, self::DEAR);
    }

    // Between rows

    /**
     * Resets the machine to the initial state of every row: nothing of kqueue runs but its sockets, the queue and the
     * tables are empty, settings and limits are the usual ones.
     */
    public function reset(): void
    {
        $changed = file_get_contents(self::CONFIG) !== $this->config;
        if ($changed) {
            file_put_contents(self::CONFIG, $this->config);
        }
        // One shell: in the virtual machine, starting a process is slow.
        $this->must(<<<SH
            runtimes="kqueue@*.service kqueue-schedule@*.service kqueue-alert@*.service kqueue-worker@*.service kqueue-shop-*.scope kqueue-test-*.service kqueue.service"
            sockets="kqueue@*.socket kqueue-control@*.socket kqueue-schedule@*.timer"
            set -f
            if [ -n "\$(systemctl list-units --all --no-legend --plain \$runtimes \$sockets)" ]; then
                # Not asked politely: draining is what rows are about.
                systemctl stop --no-block \$sockets \$runtimes
                systemctl kill -s KILL \$runtimes 2>/dev/null
                timeout 60 systemctl stop \$sockets \$runtimes
                systemctl reset-failed
            fi
            set +f
            changed={$changed}
            for made in /run/systemd/system/kqueue*.d /run/systemd/system.control/kqueue*.d /etc/systemd/system.control/kqueue*.d; do
                [ ! -e "\$made" ] || { rm -r "\$made"; changed=1; }
            done
            for config in /etc/kqueue/*.toml; do
                [ "\$config" = /etc/kqueue/shop.toml ] || { rm "\$config"; changed=1; }
            done
            [ -z "\$changed" ] || systemctl daemon-reload
            rm -rf /var/lib/kqueue/shop/* /run/kqueue-test-*
            loginctl list-users --no-legend | grep -q laptop && systemctl --user -M laptop@ kill -s KILL kqueue-try.service 2>/dev/null
            systemctl start redis-server.service
            [ ! -e /usr/lib/systemd/system/kqueue.socket ] || systemctl start kqueue.socket kqueue@shop.socket kqueue-control@shop.socket
            SH);
        RedisServer::running()->client()->flushAll();
        $this->shop->reset();
        $this->laptop->reset();
        $left = $this->unitsLike('kqueue@*.service', 'kqueue-worker@*.service', 'kqueue-shop-*.scope');
        $this->expectSame([], $left, 'units that are left');
    }

    /** Stops the dispatchers, whose state is unknown after a failed row. */
    public function afterFailure(): void
    {
        $this->shop->hangUp();
        $this->laptop->hangUp();
    }

    public function debian(): string
    {
        return explode('.', trim((string) file_get_contents('/etc/debian_version')))[0];
    }

    private function writeConfig(string $text): void
    {
        if (file_get_contents(self::CONFIG) !== $text) {
            file_put_contents(self::CONFIG, $text);
            $this->must('systemctl daemon-reload');
        }
    }
}
