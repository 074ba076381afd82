<?php

declare(strict_types=1);

namespace App\Jobs;

use App\Journal;

/** Says what the app's `artisan` has set up for its process. */
class SetUp extends Recorded
{
    protected function act(): void
    {
        Journal::write('set up', [
            'umask' => sprintf('%04o', umask()),
            'role' => defined('APP_ROLE') ? APP_ROLE : null,
            'precision' => ini_get('precision'),
            'variable' => getenv('OF_ARTISAN') . ($GLOBALS['ofArtisan'] ?? ''),
            'timezone' => date_default_timezone_get(),
        ]);
    }
}
