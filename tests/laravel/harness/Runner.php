<?php

declare(strict_types=1);

namespace Kqueue\Tests;

use Throwable;

/** Runs cases, several at a time, each in a process and a sandbox of its own, and reports their results. */
final class Runner
{
    private const CASE_SECONDS = 300;

    /** Cases at once, however idle the machine is. */
    private const MOST = 10;

    /** Rows that may be retried. More failures than that are no coincidence. */
    private const SECOND_TRIES = 4;

    /** Begins the report of a passed case; the observation follows. A case that dies reports nothing. */
    private const PASSED = "passed\n";

    /** @var array<int, array{case: TestCase, pipe: resource, dir: string, start: float, said: string}> by pid */
    private array $running = [];

    private bool $interrupted = false;

    private readonly Pressure $pressure;

    public int $passed = 0;

    /** @var array<string, array{passed: int, failed: bool}> by row and driver */
    private array $outcomes = [];

    /** @var list<string> */
    public array $failures = [];

    public function __construct(
        private readonly Options $options,
        private readonly string $dir,
        private readonly Servers $servers,
        private readonly Results $results,
    ) {
        $this->pressure = new Pressure();
    }

    /** @param list<TestCase> $cases */
    public function run(array $cases): void
    {
        pcntl_async_signals(true);
        foreach ([SIGINT, SIGTERM, SIGHUP] as $signal) {
            pcntl_signal($signal, function (): void {
                $this->interrupted = true;
            });
        }
        $this->work($cases, $this->options->jobs);
        $this->tryAgain($cases);
        foreach ($this->running as $pid => $case) {
            posix_kill($pid, SIGKILL);
            $this->sweep($case['dir']);
        }
        if ($this->interrupted) {
            $this->failures[] = 'interrupted';
        }
    }

    /** @param list<TestCase> $cases */
    private function work(array $cases, ?int $atOnce): void
    {
        while (! $this->interrupted && ($cases !== [] || $this->running !== [])) {
            while ($cases !== [] && $this->hasRoom(count($this->running), $atOnce)) {
                $this->launch(array_shift($cases));
            }
            $this->collect();
        }
    }

    /** Cases mostly wait: without a given number, as many run as the processors' pressure allows, up to MOST. */
    private function hasRoom(int $running, ?int $atOnce): bool
    {
        return $atOnce !== null ? $running < $atOnce : $running < 2 || ($running < self::MOST && $this->pressure->isLow());
    }

    /**
     * Retries a few failed rows, all cases of each, one by one: on a busy machine any time limit can be exceeded. The
     * first failure stays in the output.
     *
     * @param list<TestCase> $cases
     */
    private function tryAgain(array $cases): void
    {
        $doubtful = array_filter($this->outcomes, static fn (array $outcome): bool => $outcome['failed']);
        if ($doubtful === [] || count($doubtful) > self::SECOND_TRIES || $this->interrupted) {
            return;
        }
        echo 'once more, by themselves: ' . implode(', ', array_keys($doubtful)) . "\n";
        $this->passed -= array_sum(array_column($doubtful, 'passed'));
        $this->failures = [];
        $this->results->forget(array_keys($doubtful));
        $this->work(array_values(array_filter($cases, static fn (TestCase $case): bool => isset($doubtful[$case->subject()]))), 1);
    }

    private function launch(TestCase $case): void
    {
        static $count = 0;
        $dir = $this->dir . '/s' . ++$count;
        [$read, $write] = stream_socket_pair(STREAM_PF_UNIX, STREAM_SOCK_STREAM, 0);
        $pid = pcntl_fork();
        if ($pid === 0) {
            fclose($read);
            foreach ([SIGINT, SIGTERM, SIGHUP] as $signal) {
                pcntl_signal($signal, SIG_DFL);
            }
            fwrite($write, $this->perform($case, $dir));
            // SIGKILL: inherited shutdown functions and destructors must not run here.
            posix_kill(getmypid(), SIGKILL);
        }
        fclose($write);
        stream_set_blocking($read, false);
        $this->running[$pid] = ['case' => $case, 'pipe' => $read, 'dir' => $dir, 'start' => microtime(true), 'said' => ''];
    }

    /** In the child: runs the scenario. Returns PASSED with the observation, or the error. */
    private function perform(TestCase $case, string $dir): string
    {
        $world = null;
        try {
            ini_set('log_errors', '0');
            mkdir($dir);
            $server = $case->row->ownServer || ! $case->service->isShared() ? $case->service->start($dir . '/server') : $this->servers->of($case->service);
            $redis = $server instanceof RedisServer ? $server : $this->servers->redis;
            $sandbox = new Sandbox($dir, $case->service, $server, $redis, $this->options->laravel, $case->row->env, $case->row->package);
            $world = new World($sandbox, new Engine($case->engine, $this->options->kqueue, $case->tier), $case->back);
            ($case->row->body)($world);

            return self::PASSED . json_encode($world->observe($case->row), JSON_INVALID_UTF8_SUBSTITUTE | JSON_THROW_ON_ERROR);
        } catch (Throwable $e) {
            $text = $e instanceof Failure ? $e->getMessage() : get_class($e) . ': ' . $e->getMessage();
            $text .= "\n" . self::place($e);
            if ($this->options->verbose && $world !== null) {
                $text .= "\njournal:\n" . substr((string) file_get_contents($world->sandbox->journal()), -6000)
                    . "\nengine:\n" . substr($world->output(), -6000) . "\nlog:\n" . substr($world->sandbox->log(), -3000);
            }

            return $text;
        }
    }

    /** The location in the scenario. */
    private static function place(Throwable $e): string
    {
        foreach ([['file' => $e->getFile(), 'line' => $e->getLine()], ...$e->getTrace()] as $frame) {
            if (str_contains($frame['file'] ?? '', '/scenarios/')) {
                return 'at ' . strstr($frame['file'], 'scenarios/') . ':' . $frame['line'];
            }
        }

        return 'at ' . $e->getFile() . ':' . $e->getLine();
    }

    private function collect(): void
    {
        usleep(10000);
        foreach ($this->running as $pid => $case) {
            // The end of the pipe does not tell: processes that the case has started keep it open.
            $ended = pcntl_waitpid($pid, $status, WNOHANG) === $pid;
            $this->running[$pid]['said'] .= (string) stream_get_contents($case['pipe']);
            $late = microtime(true) - $case['start'] > self::CASE_SECONDS;
            if ($late && ! $ended) {
                posix_kill($pid, SIGKILL);
                pcntl_waitpid($pid, $status);
            }
            if ($ended || $late) {
                $said = $this->running[$pid]['said'];
                unset($this->running[$pid]);
                $this->sweep($case['dir']);
                $this->report($case, $late ? 'ran longer than ' . self::CASE_SECONDS . ' s' : $said);
            }
        }
    }

    /** @param array{case: TestCase, start: float, dir: string} $run */
    private function report(array $run, string $said): void
    {
        $outcome = &$this->outcomes[$run['case']->subject()];
        $outcome ??= ['passed' => 0, 'failed' => false];
        $line = $run['case']->name() . ($this->options->times ? sprintf(' (%.1f s)', microtime(true) - $run['start']) : '');
        if (str_starts_with($said, self::PASSED)) {
            $this->passed++;
            $outcome['passed']++;
            echo "ok    {$line}\n";
            $differences = $this->results->passed($run['case'], json_decode(substr($said, strlen(self::PASSED)), true));
        } else {
            $this->results->failed($run['case']);
            $this->fails($line, $said === '' ? 'the scenario\'s process died' : $said);
            $differences = [];
            $outcome['failed'] = true;
        }
        $outcome['failed'] = $outcome['failed'] || $differences !== [];
        foreach ($differences as $name => $lines) {
            $this->fails("{$name}: not as under stock", implode("\n", $lines));
        }
        if (! $this->options->keep) {
            Files::remove($run['dir']);
        }
    }

    private function fails(string $line, string $why): void
    {
        $this->failures[] = $line;
        echo "FAIL  {$line}\n      " . str_replace("\n", "\n      ", $why) . "\n";
    }

    /** Kills everything that was started for a sandbox. */
    private function sweep(string $dir): void
    {
        Processes::kill(SIGKILL, ...Processes::of($dir), ...Processes::within($dir));
    }
}
