<?php

declare(strict_types=1);

namespace Kqueue;

use Attribute;

/**
 * How many jobs of the class run at once, and how many start per time (`30/m`). With `by`, each value of that key, tag
 * or property counts separately.
 */
#[Attribute(Attribute::TARGET_CLASS)]
final class Limit
{
    public function __construct(public ?int $concurrent = null, public ?string $rate = null, public ?string $by = null, public ?int $burst = null)
    {
    }
}
