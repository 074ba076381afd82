<?php

declare(strict_types=1);

namespace App\Jobs;

/** Of several that are dispatched, the last one runs (Laravel 13.6 and later). */
class Debounced extends Recorded
{
    /** @var int seconds */
    public $debounceFor = 30;

    public function debounceId(): string
    {
        return 'one';
    }

    protected function act(): void
    {
    }
}
