<?php

/**
 * Class loading where there is no Composer: Laravel as Debian packages it.
 *
 * The harness puts a `vendor/autoload.php` into every sandbox. It is Composer's own if a Laravel installed
 * by Composer was given, else one line that loads this file.
 */

declare(strict_types=1);

// Laravel 8 on PHP 8.2 is deprecated syntax from the first file on.
error_reporting(E_ALL & ~E_DEPRECATED & ~E_USER_DEPRECATED);

require_once 'Illuminate/autoload.php';

// The client of beanstalkd, where it is installed.
if (stream_resolve_include_path('Pheanstalk/autoload.php') !== false) {
    require_once 'Pheanstalk/autoload.php';
}
