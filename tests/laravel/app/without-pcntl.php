<?php

/**
 * Put before every script of a PHP that shall be one without pcntl. Laravel asks `extension_loaded('pcntl')`
 * from its own namespace, so that the answer can be given there.
 */

declare(strict_types=1);

namespace Illuminate\Queue;

function extension_loaded(string $extension): bool
{
    return $extension !== 'pcntl' && \extension_loaded($extension);
}
