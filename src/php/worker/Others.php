<?php

declare(strict_types=1);

namespace Kqueue\Worker;

/**
 * The queue connections that an app uses besides the one that is worked: each needs an instance of kqueue. Read from
 * its configuration and the source of its classes: nothing else names the connection of a job before it is dispatched.
 */
final class Others
{
    /** Matches the connection that a class is queued on. An Eloquent model's looks the same, but names a database. */
    private const NAMED = '/(?:\$connection\s*=\s*|\bonConnection\(\s*|#\[(?:\w+\\\\)*Connection\(\s*)[\'"]([A-Za-z0-9_.-]{1,64})[\'"]/';

    /** Drivers that keep no jobs. */
    private const KEEPS_NONE = ['sync', 'null', 'deferred', 'background', 'failover'];

    /** @return array<string, string> by connection, where it is named */
    public static function of(\ArrayAccess $config, string $path, string $worked): array
    {
        $used = [];

        foreach (self::behind($config, $worked) as $name) {
            $used[$name] ??= "behind {$worked}";
        }

        foreach (self::behind($config, (string) $config['queue.default']) as $name) {
            $used[$name] ??= 'behind '.$config['queue.default'];
        }

        $used[(string) $config['queue.default']] ??= 'the app\'s default';

        foreach (Declarations::files("{$path}/app") as $class => $file) {
            if (preg_match_all(self::NAMED, (string) @file_get_contents($file, false, null, 0, 65536), $found) > 0) {
                foreach ($found[1] as $name) {
                    $used[$name] ??= "app/{$class}.php";
                }
            }
        }

        foreach ((array) $config['horizon.defaults'] as $supervisor => $options) {
            if (is_string($options['connection'] ?? null)) {
                $used[$options['connection']] ??= "config/horizon.php, {$supervisor}";
            }
        }

        unset($used[$worked]);
        // A failover connection pops from its first member.
        unset($used[self::behind($config, $worked)[0] ?? '']);
        $keeps = static fn (string $name): bool => is_string($driver = $config["queue.connections.{$name}.driver"] ?? null)
            && ! in_array($driver, self::KEEPS_NONE, true);

        return array_filter($used, static fn (string|int $name): bool => $keeps((string) $name), ARRAY_FILTER_USE_KEY);
    }

    /** @return list<string> the connections that a failover chooses from */
    private static function behind(\ArrayAccess $config, string $name): array
    {
        $settings = (array) $config["queue.connections.{$name}"];

        return ($settings['driver'] ?? null) === 'failover'
            ? array_values(array_filter((array) ($settings['connections'] ?? []), 'is_string'))
            : [];
    }
}
