<?php

declare(strict_types=1);

use Kqueue\Tests\Row;

/**
 * Adds a row. Rows with a number are those of the queue contract's table; kqueue's own have a name.
 *
 * @param list<string>|null $drivers see Row
 * @param list<string> $engines
 * @param array<string, string|int|true> $back see Row
 * @param array<string, string|int> $env
 */
function row(
    int|string $id,
    string $title,
    Closure $body,
    ?array $drivers = null,
    array $engines = ['stock', 'kqueue'],
    ?string $since = null,
    array $back = [],
    array $env = [],
    ?string $later = null,
    bool $ownServer = false,
    bool $tiers = true,
    bool $package = false,
): void {
    Row::$all[] = new Row((string) $id, $title, $body, $drivers, $engines, $since, $back, $env, $later, $ownServer, $tiers, $package);
}
