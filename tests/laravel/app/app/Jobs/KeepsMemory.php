<?php

declare(strict_types=1);

namespace App\Jobs;

/** Leaks: what it takes stays with the process. */
class KeepsMemory extends Recorded
{
    /** @var list<string> */
    private static array $hoard = [];

    public function __construct(public int $mb)
    {
    }

    protected function act(): void
    {
        for ($i = 0; $i < $this->mb; $i++) {
            self::$hoard[] = str_repeat(chr($i & 255), 1 << 20);
        }
    }
}
