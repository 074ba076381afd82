<?php

declare(strict_types=1);

namespace Kqueue\Tests;

use RuntimeException;

/** Something is not as the scenario expects it. */
final class Failure extends RuntimeException
{
}
