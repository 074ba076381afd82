<?php

declare(strict_types=1);

namespace App\Exceptions;

use RuntimeException;

/** What the exception handler of Laravel 13.17 and later is told not to retry. */
class Hopeless extends RuntimeException
{
}
