<?php

declare(strict_types=1);

namespace App\Jobs;

use App\Facades\Box;
use App\Journal;
use App\Models\User;
use ArrayObject;
use Illuminate\Support\Facades\Cache;
use Illuminate\Support\Facades\DB;
use Illuminate\Support\Facades\Log;

/** Writes down which traces of other jobs it finds in its process, and leaves its own. */
class Traces extends Recorded
{
    private static ?string $by = null;

    /** @param bool $open leaves a transaction open */
    public function __construct(public bool $open = false, public ?int $exit = null)
    {
    }

    protected function act(): void
    {
        Journal::write('traces', [
            'tag' => $this->tag,
            // Laravel cleans up after these.
            'reset' => array_filter(['scoped' => app('scoped.box')['by'] ?? null, 'facade' => Box::getFacadeRoot()['by'] ?? null]),
            // And not after these.
            'kept' => array_filter([
                'static' => self::$by,
                'singleton' => app('box')['by'] ?? null,
                'config' => config('app.by'),
                'locale' => app()->getLocale() === 'en' ? null : app()->getLocale(),
                'timezone' => date_default_timezone_get() === 'UTC' ? null : date_default_timezone_get(),
            ]),
            'level' => DB::transactionLevel(),
            'users' => User::pluck('name')->all(),
        ]);
        Log::info("written by {$this->tag}");

        self::$by = $this->tag;
        app('box')['by'] = $this->tag;
        config(['app.by' => $this->tag]);
        app()->setLocale('nl');
        date_default_timezone_set('Europe/Amsterdam');
        Box::swap(new ArrayObject(['by' => $this->tag]));
        Log::withContext(['context' => $this->tag]);
        if (method_exists(Log::getFacadeRoot(), 'flushSharedContext')) {
            Log::shareContext(['shared' => $this->tag]);
        }
        Cache::put("by-{$this->tag}", $this->tag, 600);
        $this->open && DB::beginTransaction();
        User::named((string) $this->tag);
        $this->exit !== null && exit($this->exit);
    }
}
