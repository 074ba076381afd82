<?php

declare(strict_types=1);

namespace App\Jobs;

/** Takes memory: on PHP's heap up to a limit of its own, on PHP's heap with no limit, or in a child process. */
class EatsMemory extends Recorded
{
    public function __construct(public int $mb, public ?int $limit = null, public string $how = 'heap')
    {
    }

    protected function act(): void
    {
        if ($this->how === 'child') {
            $code = 'ini_set("memory_limit", "-1"); $s = str_repeat("x", ' . $this->mb . ' << 20); sleep(1);';
            passthru(escapeshellarg(PHP_BINARY) . ' -r ' . escapeshellarg($code));

            return;
        }

        ini_set('memory_limit', $this->limit === null ? '-1' : (memory_get_usage(true) >> 20) + $this->limit . 'M');
        $hoard = [];
        for ($i = 0; $i < $this->mb; $i++) {
            $hoard[] = str_repeat(chr($i & 255), 1 << 20);
        }
    }
}
