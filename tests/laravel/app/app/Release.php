<?php

declare(strict_types=1);

namespace App;

/** Which release of the app this file belongs to: a deploy changes it. */
final class Release
{
    public const NAME = 'old';
}
