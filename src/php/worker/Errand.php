<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Throwable;

/**
 * An operation that an operator requests of an app's own PHP: the process boots the app, carries it out, and exits.
 *
 * The order is JSON on standard input. Replies are lines of standard output, MARK and a JSON object each; the last one
 * has `end`, or `error`.
 */
abstract class Errand
{
    private const MARK = 'kqueue-errand ';

    /** Jobs between two progress lines. */
    protected const AT_ONCE = 50;

    protected Boot $boot;

    /** Number of selected jobs. */
    protected int $matched = 0;

    /** Number of jobs that the operation has been applied to. */
    protected int $done = 0;

    /** @param array<string, mixed> $order */
    public function __construct(protected array $order)
    {
    }

    /** Carries out the order; the app has booted. */
    abstract protected function carryOut(): void;

    public function run(): int
    {
        // Discards what the app prints.
        ob_start(static fn (): string => '');

        try {
            $this->boot = new Boot($this->order);
            $this->boot->boot();
            $this->carryOut();
        } catch (Throwable $error) {
            $this->say(['error' => get_class($error).': '.$error->getMessage(), 'done' => $this->done]);

            return 1;
        }

        $this->say(['end' => true, 'matched' => $this->matched, 'done' => $this->done]);

        return 0;
    }

    /** Writes a progress line for every AT_ONCE jobs done. */
    protected function progress(): void
    {
        $this->done % self::AT_ONCE === 0 && $this->say(['progress' => $this->done]);
    }

    /** @param array<string, mixed> $line */
    protected function say(array $line): void
    {
        $written = @fwrite(STDOUT, self::MARK.json_encode($line, JSON_INVALID_UTF8_SUBSTITUTE | JSON_UNESCAPED_SLASHES | JSON_THROW_ON_ERROR)."\n");
        // The reader is gone, so the operation is no longer wanted.
        $written === false && exit(1);
    }
}
