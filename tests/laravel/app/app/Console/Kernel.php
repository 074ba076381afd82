<?php

declare(strict_types=1);

namespace App\Console;

use Illuminate\Foundation\Console\Kernel as ConsoleKernel;

/** The console kernel of the old app shape (Laravel 8 to 10). */
class Kernel extends ConsoleKernel
{
}
