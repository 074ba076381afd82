<?php

declare(strict_types=1);

namespace Kqueue\Tests\Machine;

use Kqueue\Tests\Failure;
use Throwable;

/** Runs rows one after the other, each in a process of its own on a machine in a known state. */
final class Runner
{
    private const PASSED = 'passed';

    /** Rows that may be retried. More failures than that are no coincidence. */
    private const SECOND_TRIES = 3;

    /** The deadline of the whole run, in nanoseconds of hrtime(). */
    private readonly float $deadline;

    public function __construct(private readonly Machine $machine, private readonly bool $verbose, float $seconds)
    {
        $this->deadline = hrtime(true) + $seconds * 1e9;
    }

    /** @param list<Row> $rows */
    public function run(array $rows): bool
    {
        $passed = $failed = 0;
        $again = [];
        // The list grows: a few failed rows are retried at its end, since on a busy machine any time limit can be
        // exceeded. The first failure stays in the output.
        for ($i = 0; $i < count($rows); $i++) {
            $row = $rows[$i];
            $start = hrtime(true);
            if ($start > $this->deadline) {
                $failed++;
                printf("FAIL  %-18s %-9s %-9s not run: the machine's time was over\n", $row->name, $this->machine->os, $this->machine->layer);
                continue;
            }
            $cursor = $this->machine->cursor();
            try {
                $this->machine->reset();
                $cursor = $this->machine->cursor();
                $said = $this->perform($row);
            } catch (Throwable $e) {
                $said = 'before the row: ' . self::describe($e);
            }
            $ok = $said === self::PASSED;
            $once = ! $ok && ! in_array($row, $again, true) && count($again) < self::SECOND_TRIES;
            if ($once) {
                $rows[] = $again[] = $row;
            } else {
                $ok ? $passed++ : $failed++;
            }
            $line = sprintf(
                '%-5s %-18s %-9s %-9s %s (%.1f s)',
                $ok ? 'ok' : 'FAIL',
                $row->name,
                $this->machine->os,
                $this->machine->layer,
                $row->title,
                (hrtime(true) - $start) / 1e9,
            ) . ($once ? ', once more at the end' : '');
            echo $line . ($ok ? '' : $this->prefixed($said . "\n" . $this->tail($cursor))) . "\n";
            if (! $ok) {
                $this->machine->afterFailure();
            }
        }
        try {
            $this->machine->reset();
        } catch (Throwable $e) {
            $failed++;
            echo 'FAIL  at the end' . $this->prefixed(self::describe($e)) . "\n";
        }
        printf(
            "Debian %s, systemd %d, %s: %d passed, %d failed\n",
            $this->machine->debian(),
            $this->machine->systemd,
            $this->machine->layer,
            $passed,
            $failed,
        );

        return $failed === 0 && $passed > 0;
    }

    /** Runs a row in a child process. Returns PASSED or the error. */
    private function perform(Row $row): string
    {
        [$read, $write] = stream_socket_pair(STREAM_PF_UNIX, STREAM_SOCK_STREAM, 0);
        $pid = pcntl_fork();
        if ($pid === 0) {
            fclose($read);
            try {
                ($row->body)($this->machine);
                $said = self::PASSED;
            } catch (Throwable $e) {
                $said = self::describe($e);
            }
            fwrite($write, $said);
            // SIGKILL: inherited shutdown functions and destructors must not run here.
            posix_kill(getmypid(), SIGKILL);
        }
        fclose($write);
        $deadline = min(hrtime(true) + $row->seconds * $this->machine->slowness * 1e9, $this->deadline);
        while (pcntl_waitpid($pid, $status, WNOHANG) === 0) {
            if (hrtime(true) > $deadline) {
                posix_kill($pid, SIGKILL);
                pcntl_waitpid($pid, $status);

                return $deadline === $this->deadline
                    ? 'the machine\'s time was over'
                    : "took longer than {$row->seconds} s" . ($this->machine->slowness > 1 ? " × {$this->machine->slowness}" : '');
            }
            usleep(5000);
        }
        stream_set_blocking($read, false);
        $said = (string) stream_get_contents($read);

        return $said === '' ? 'the process of the row died' : $said;
    }

    private static function describe(Throwable $e): string
    {
        $text = $e instanceof Failure ? $e->getMessage() : get_class($e) . ': ' . $e->getMessage();
        foreach ([['file' => $e->getFile(), 'line' => $e->getLine()], ...$e->getTrace()] as $frame) {
            if (str_contains($frame['file'] ?? '', '/rows/')) {
                return "{$text}\nat " . strstr($frame['file'], 'rows/') . ':' . $frame['line'];
            }
        }

        return "{$text}\nat {$e->getFile()}:{$e->getLine()}";
    }

    /** The last lines of the machine's journal since a cursor. */
    private function tail(string $cursor): string
    {
        $lines = $this->verbose ? 400 : 60;
        // Together with a cursor, journalctl's own -n gives the first lines in place of the last.
        $text = $this->machine->sh('journalctl --no-pager -o short-precise --after-cursor=' . escapeshellarg($cursor) . " | tail -n {$lines}")->text();
        if ($this->verbose) {
            $text .= "\n" . $this->machine->shop->trail();
        }

        return rtrim($text);
    }

    private function prefixed(string $text): string
    {
        return "\n" . preg_replace('/^/m', "{$this->machine->os} {$this->machine->layer}|   ", $text);
    }
}
