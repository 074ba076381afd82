<?php

declare(strict_types=1);

namespace App\Jobs;

/** Encrypted, so that nobody can read from its payload where it is to run. */
class Sealed extends Secret
{
    /** @var bool|null read by kqueue; unknown to Laravel */
    public $isolated;
}
