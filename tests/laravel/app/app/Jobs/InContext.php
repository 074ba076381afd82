<?php

declare(strict_types=1);

namespace App\Jobs;

use App\Journal;
use Illuminate\Support\Facades\Context;
use Illuminate\Support\Facades\Log;
use RuntimeException;
use Throwable;

/** Writes down the context it runs and fails in (Laravel 11 and later), and adds to it. */
class InContext extends Recorded
{
    public function __construct(public string $how = 'ok')
    {
    }

    public function failed(?Throwable $e): void
    {
        parent::failed($e);
        $this->say('context in failed()');
    }

    protected function act(): void
    {
        $this->say('context');
        Log::info("in the context of {$this->tag}");
        Context::add('added', $this->tag);
        Context::addHidden('added', $this->tag);
        $this->how === 'exit' && exit(3);
        if ($this->how === 'throw') {
            throw new RuntimeException('thrown on purpose');
        }
    }

    private function say(string $what): void
    {
        $hidden = array_filter(Context::allHidden(), static fn (string $key): bool => ! str_starts_with($key, 'laravel_'), ARRAY_FILTER_USE_KEY);
        Journal::write($what, ['tag' => $this->tag, 'all' => Context::all(), 'hidden' => $hidden]);
    }
}
