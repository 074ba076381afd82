<?php

declare(strict_types=1);

namespace Kqueue\Tests;

/** What works the queue, stock or kqueue: makes the command line of either from the same options. */
final class Engine
{
    /** Options that `queue:work` has; every other one is kqueue's own and means nothing to stock. */
    private const STOCK = ['tries', 'timeout', 'backoff', 'max-jobs', 'max-time', 'memory', 'force', 'queue', 'stop-when-empty'];

    /** @param string|null $tier where kqueue puts jobs that ask for no tier; null leaves it to kqueue */
    public function __construct(public readonly string $name, private readonly string $kqueue, private readonly ?string $tier = null)
    {
    }

    public function isKqueue(): bool
    {
        return $this->name === 'kqueue';
    }

    /**
     * @param array<string, string|int|true> $options
     * @return list<string>
     */
    public function command(Sandbox $sandbox, array $options): array
    {
        $php = (string) ($options['php'] ?? PHP_BINARY);
        $path = (string) ($options['path'] ?? $sandbox->app);
        unset($options['php'], $options['path']);
        if (! $this->isKqueue()) {
            $options = array_intersect_key($options, array_flip(self::STOCK)) + ['queue' => 'default'];

            return array_merge([$php, $path . '/artisan', 'queue:work', $sandbox->driver, '--sleep=0.02'], self::flags($options, '='));
        }
        if (isset($options['memory'])) {
            $options['worker-memory'] = $options['memory'];
            unset($options['memory']);
        }
        $options += [
            'queue' => 'default',
            'php' => $php,
            'timeout-grace' => 1,
            'pool-min-idle' => 1,
            'state-dir' => $sandbox->dir . '/state',
            'runtime-dir' => $sandbox->dir . '/run',
        ] + ($this->tier === null ? [] : ['default-tier' => $this->tier]);

        // The sandboxes of a run as root belong to root.
        $asRoot = posix_geteuid() === 0 ? ['--as-root'] : [];

        return array_merge([$this->kqueue, 'run', ...$asRoot, '--launcher', 'process', '--path', $path, '--connection', $sandbox->driver], self::flags($options, '='));
    }

    /** @return list<string> */
    public function status(Sandbox $sandbox): array
    {
        return $this->about($sandbox, 'status');
    }

    /**
     * A command of kqueue's about the sandbox's app.
     *
     * @return list<string>
     */
    public function about(Sandbox $sandbox, string ...$words): array
    {
        return [$this->kqueue, ...$words, '--path', $sandbox->app, '--runtime-dir', $sandbox->dir . '/run', '--json'];
    }

    /**
     * @param array<string, string|int|true> $options
     * @return list<string>
     */
    private static function flags(array $options, string $glue): array
    {
        $flags = [];
        foreach ($options as $name => $value) {
            $flags[] = $value === true ? "--{$name}" : "--{$name}{$glue}{$value}";
        }

        return $flags;
    }
}
