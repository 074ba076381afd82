<?php

declare(strict_types=1);

namespace Kqueue\Worker;

/**
 * What a job uses: its peak of PHP's heap, and its processor time.
 *
 * Each look at the processor time is a system call. Behind a quick job, one look is the end of it and the begin of the next.
 */
final class Usage
{
    /** Nanoseconds that a job takes at least in which a child process has ended. */
    private const CHILD = 1_000_000;

    /** Microseconds of processor time of this process at the last look, and of the children that it has waited for. */
    private int $own = 0;

    private int $children = 0;

    private int $began = 0;

    /** A job begins. */
    public function begins(bool $atOnce): void
    {
        if (! $atOnce || $this->began === 0) {
            $this->own = self::look(0);
            $this->children = self::look(1);
        }

        $this->began = hrtime(true);

        if (function_exists('memory_reset_peak_usage')) {
            memory_reset_peak_usage();
        }
    }

    /** What the job has used: KiB and microseconds. @return array{peak: int, cpu: int} */
    public function used(): array
    {
        [$own, $children] = [$this->own, $this->children];
        $this->own = self::look(0);

        if (hrtime(true) - $this->began > self::CHILD) {
            $this->children = self::look(1);
        }

        return [
            'peak' => memory_get_peak_usage(true) >> 10,
            'cpu' => max(0, $this->own - $own + $this->children - $children),
        ];
    }

    private static function look(int $whose): int
    {
        $used = getrusage($whose) ?: [];

        return 1_000_000 * (($used['ru_utime.tv_sec'] ?? 0) + ($used['ru_stime.tv_sec'] ?? 0)) + ($used['ru_utime.tv_usec'] ?? 0) + ($used['ru_stime.tv_usec'] ?? 0);
    }
}
