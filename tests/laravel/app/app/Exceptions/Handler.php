<?php

declare(strict_types=1);

namespace App\Exceptions;

use App\Journal;
use Illuminate\Foundation\Exceptions\Handler as ExceptionHandler;

/** The exception handler of the old app shape (Laravel 8 to 10): Laravel's, and a line in the journal. */
class Handler extends ExceptionHandler
{
    /** @return void */
    public function register()
    {
        $this->reportable(Journal::report(...));
    }
}
