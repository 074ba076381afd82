<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Throwable;

/**
 * What an operator asks of an app's own PHP: a process boots the app, does it, and ends.
 *
 * What it is comes by standard input, as JSON. Answers are lines of standard output that begin with MARK, a JSON object each; the last one has `end`, or `error`.
 */
abstract class Errand
{
    private const MARK = 'kqueue-errand ';

    /** Jobs between two lines that say how far it is. */
    protected const AT_ONCE = 50;

    protected Boot $boot;

    /** Jobs that are meant. */
    protected int $matched = 0;

    /** Those of which it is done. */
    protected int $done = 0;

    /** @param array<string, mixed> $order */
    public function __construct(protected array $order)
    {
    }

    /** Does it; the app has booted. */
    abstract protected function carryOut(): void;

    public function run(): int
    {
        // What the app prints is no part of the answer.
        ob_start(static fn (): string => '');

        try {
            $this->boot = new Boot($this->order);
            $this->boot->boot();
            $this->carryOut();
        } catch (Throwable $error) {
            $this->say(['error' => get_class($error).': '.$error->getMessage()]);

            return 1;
        }

        $this->say(['end' => true, 'matched' => $this->matched, 'done' => $this->done]);

        return 0;
    }

    /** One more is done. */
    protected function progress(): void
    {
        $this->done % self::AT_ONCE === 0 && $this->say(['progress' => $this->done]);
    }

    /** @param array<string, mixed> $line */
    protected function say(array $line): void
    {
        $written = @fwrite(STDOUT, self::MARK.json_encode($line, JSON_INVALID_UTF8_SUBSTITUTE | JSON_UNESCAPED_SLASHES | JSON_THROW_ON_ERROR)."\n");
        // Nobody reads any more: whoever asked wants no more of it.
        $written === false && exit(1);
    }
}
