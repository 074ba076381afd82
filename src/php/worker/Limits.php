<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Illuminate\Queue\WorkerOptions;

/** What bounds a job inside its process: Laravel's timeout, and PHP's limit of memory. */
final class Limits
{
    /** Calls between ours and the one of Laravel's that has its options. */
    private const DEPTH = 14;

    /** Laravel's own options, and the timeout that they were made with. */
    private ?WorkerOptions $options = null;

    private int $timeout = 0;

    private string|false $memory = false;

    /** A job begins. `timeout` in seconds, null for the worker's own; `memory` in MB, null for PHP's own. */
    public function begin(?int $timeout, ?int $memory): void
    {
        if ($memory !== null) {
            // Refused by PHP when more than that is in use already; then the limit from outside is the one that holds.
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

    /** Laravel reads a job's timeout off the options that it passes on from call to call, and that nothing else leads to. */
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
