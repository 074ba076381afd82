<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Illuminate\Queue\Worker;

/**
 * Resource usage of a job: the peak of PHP's heap, and processor time.
 *
 * Reading the processor time is a system call. Between two quick jobs, one reading serves as the end of the first and
 * the start of the next.
 */
final class Usage
{
    /** Nanoseconds of a job below which no child process can have ended in it. */
    private const CHILD = 1_000_000;

    /** Microseconds of processor time at the last reading: of this process, and of children that it has waited for. */
    private int $own = 0;

    private int $children = 0;

    private int $began = 0;

    /** The highest peak before a reset by Laravel, since the job began. */
    private int $peak = 0;

    /** Reads the peak before Laravel resets it, which newer versions do at the start of each loop: before used(). */
    public function watch(Worker $worker): void
    {
        $hold = function (): void {
            $this->peak = max($this->peak, memory_get_peak_usage(true));
        };

        \Closure::bind(function () use ($hold): void {
            if (is_callable($this->resetScope ?? null)) {
                $reset = $this->resetScope;
                $this->resetScope = static function () use ($hold, $reset): void {
                    $hold();
                    $reset();
                };
            }
        }, $worker, Worker::class)();
    }

    /** A job begins; $atOnce: right after the last one, whose final reading is used. */
    public function begins(bool $atOnce): void
    {
        if (! $atOnce || $this->began === 0) {
            $this->own = self::look(0);
            $this->children = self::look(1);
        }

        $this->began = hrtime(true);
        $this->peak = 0;

        if (function_exists('memory_reset_peak_usage')) {
            memory_reset_peak_usage();
        }
    }

    /** Usage of the job, in KiB and microseconds. @return array{peak: int, cpu: int} */
    public function used(): array
    {
        [$own, $children] = [$this->own, $this->children];
        $this->own = self::look(0);

        if (hrtime(true) - $this->began > self::CHILD) {
            $this->children = self::look(1);
        }

        return [
            'peak' => max($this->peak, memory_get_peak_usage(true)) >> 10,
            'cpu' => max(0, $this->own - $own + $this->children - $children),
        ];
    }

    private static function look(int $whose): int
    {
        $used = getrusage($whose) ?: [];

        return 1_000_000 * (($used['ru_utime.tv_sec'] ?? 0) + ($used['ru_stime.tv_sec'] ?? 0)) + ($used['ru_utime.tv_usec'] ?? 0) + ($used['ru_stime.tv_usec'] ?? 0);
    }
}
