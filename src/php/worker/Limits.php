<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Illuminate\Queue\WorkerOptions;

/** Limits of a job inside its process: Laravel's timeout, and PHP's memory limit. */
final class Limits
{
    /** Stack frames searched for the call of Laravel's that has its options. */
    private const DEPTH = 14;

    /** Laravel's own options, and the timeout that they were made with. */
    private ?WorkerOptions $options = null;

    private int $timeout = 0;

    private string|false $memory = false;

    /** A job begins. `timeout` in seconds, null for the worker's own; `memory` in MB, null for PHP's own. */
    public function begin(?int $timeout, ?int $memory): void
    {
        if ($memory !== null) {
            // PHP refuses a limit below what is in use already; then only the external limit applies.
            $this->memory = @ini_set('memory_limit', $memory.'M');
        }

        if ($this->find()) {
            $this->options->timeout = $timeout ?? $this->timeout;
        }
    }

    public function end(): void
    {
        if ($this->memory !== false) {
            @ini_set('memory_limit', $this->memory);
            $this->memory = false;
        }
    }

    /** Finds the options that Laravel reads a job's timeout from. Only arguments on the call stack lead to them. */
    private function find(): bool
    {
        foreach ($this->options === null ? debug_backtrace(DEBUG_BACKTRACE_PROVIDE_OBJECT, self::DEPTH) : [] as $call) {
            foreach ($call['args'] ?? [] as $argument) {
                if ($argument instanceof WorkerOptions) {
                    [$this->options, $this->timeout] = [$argument, (int) $argument->timeout];

                    return true;
                }
            }
        }

        return $this->options !== null;
    }
}
