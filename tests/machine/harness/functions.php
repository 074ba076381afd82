<?php

declare(strict_types=1);

use Kqueue\Tests\Machine\Machine;
use Kqueue\Tests\Machine\Row;

/**
 * Adds a row that runs inside a machine.
 *
 * @param string $title what is shown, as a sentence without its end
 * @param Closure(Machine): void $body
 * @param list<string> $layers `container`, `vm`: the cheapest that can show it, both where they may differ
 * @param list<string> $os
 * @param float $seconds how long it may take where nothing is slow
 */
function row(
    string $name,
    string $title,
    Closure $body,
    array $layers = ['container'],
    array $os = ['bookworm', 'trixie'],
    float $seconds = 90,
): void {
    Row::$all[] = new Row($name, $title, $body, $layers, $os, $seconds);
}
