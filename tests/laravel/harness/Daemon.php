<?php

declare(strict_types=1);

namespace Kqueue\Tests;

use RuntimeException;

/** An engine that runs in the background. */
final class Daemon
{
    public readonly int $pid;

    public readonly string $log;

    /** @var resource */
    private $process;

    private ?int $status = null;

    private ?string $forget = null;

    /**
     * @param list<string> $command
     * @param array<string, string> $env
     */
    public function __construct(array $command, private readonly Sandbox $sandbox, array $env = [])
    {
        static $count = 0;
        $this->log = $sandbox->dir . '/engine-' . ++$count . '.log';
        file_put_contents($this->log, '$ ' . implode(' ', $command) . "\n");
        $out = ['file', $this->log, 'a'];
        // What Laravel read from .env is in this process's environment, too, and would override the file.
        $clean = ['PATH' => (string) getenv('PATH'), 'HOME' => (string) getenv('HOME'), 'LANG' => 'C.UTF-8', Processes::MARK => $sandbox->dir];
        if (getenv('KQUEUE_PHP_DIR') !== false) {
            $clean['KQUEUE_PHP_DIR'] = getenv('KQUEUE_PHP_DIR');
        }
        $this->process = proc_open($command, [['file', '/dev/null', 'r'], $out, $out], $pipes, $sandbox->dir, $env + $clean)
            ?: throw new RuntimeException('cannot start ' . $command[0]);
        $this->pid = proc_get_status($this->process)['pid'];
    }

    public function runs(): bool
    {
        if ($this->status === null) {
            $now = proc_get_status($this->process);
            if (! $now['running']) {
                // As in a shell: 128 plus the number of the signal.
                $this->status = $now['signaled'] ? 128 + $now['termsig'] : $now['exitcode'];
            }
        }

        return $this->status === null;
    }

    /** Waits for the end and returns the exit status. */
    public function wait(float $seconds = 30.0): int
    {
        Wait::until(fn (): bool => ! $this->runs(), 'the end of the engine', $seconds);

        return (int) $this->status;
    }

    public function signal(int $signal): void
    {
        $this->runs() && posix_kill($this->pid, $signal);
    }

    /** Ends it with SIGTERM: running jobs may finish. */
    public function stop(float $seconds = 15.0): int
    {
        $this->signal(SIGTERM);

        return $this->wait($seconds);
    }

    /** Kills everything that was started for this sandbox. */
    public function kill(): void
    {
        Processes::kill(SIGKILL, ...Processes::of($this->sandbox->dir));
        $this->signal(SIGKILL);
        $this->wait();
    }

    /** @return list<int> the PHP processes that it has started */
    public function php(): array
    {
        $all = array_unique(array_merge(Processes::descendants($this->pid), Processes::of($this->sandbox->dir)));

        return array_values(array_filter($all, fn (int $pid): bool => $pid !== $this->pid && Processes::isPhp($pid) && Processes::runs($pid)));
    }

    /**
     * The output of PHP in kqueue's log: `DATE  CLASS: TEXT job=… worker=… tier=…`.
     *
     * @return list<array{class: ?string, text: string, job: ?string, tier: ?string, worker: int}>
     */
    public function printed(): array
    {
        $lines = [];
        foreach (explode("\n", $this->output()) as $line) {
            if (preg_match('/^\S+  (?:([\w\\\\]+): )?(.*?)(?: job=(\S+) queue=\S+)?(?: worker=(\d+))?(?: tier=(\S+))?$/', $line, $found, PREG_UNMATCHED_AS_NULL)) {
                [, $class, $text, $job, $worker, $tier] = $found;
                if ($this->forget === null || ! preg_match($this->forget, $text)) {
                    $lines[] = ['class' => $class, 'text' => $text, 'job' => $job, 'tier' => $tier, 'worker' => (int) $worker];
                }
            }
        }

        return $lines;
    }

    /** Excludes lines that match from {@see printed()}. */
    public function forget(string $pattern): void
    {
        $this->forget = $pattern;
    }

    public function output(): string
    {
        return (string) file_get_contents($this->log);
    }
}
