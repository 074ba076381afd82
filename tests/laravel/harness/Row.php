<?php

declare(strict_types=1);

namespace Kqueue\Tests;

use Closure;

/** One behaviour: its name, where it applies, and the scenario. */
final class Row
{
    /** @var list<self> */
    public static array $all = [];

    /**
     * @param list<string>|null $drivers names of services or of Laravel's drivers; null for all
     * @param list<string> $engines
     * @param array<string, string|int|true> $back options under which kqueue is held to stock's behaviour, in a run of its own
     * @param array<string, string|int> $env the app's settings
     * @param string|null $later why it cannot run here at all
     * @param bool $ownServer the scenario needs a server of its own, because it affects it
     * @param bool $tiers whether kqueue runs it once more in each tier
     * @param bool $package the app has the Composer package
     */
    public function __construct(
        public readonly string $id,
        public readonly string $title,
        public readonly Closure $body,
        public readonly ?array $drivers,
        public readonly array $engines,
        public readonly ?string $since,
        public readonly array $back,
        public readonly array $env,
        public readonly ?string $later,
        public readonly bool $ownServer = false,
        public readonly bool $tiers = true,
        public readonly bool $package = false,
    ) {
    }

    /**
     * The cases of this row with an engine: a plain one, and for kqueue also one with the options for stock behaviour,
     * and one for each tier other than the one for unknown jobs.
     *
     * @return list<TestCase>
     */
    public function cases(string $engine, Service $service, bool $everyTier): array
    {
        $cases = [new TestCase($this, $engine, $service)];
        if ($engine === 'kqueue' && $this->back !== []) {
            $cases[] = new TestCase($this, $engine, $service, back: $this->back);
        }
        if ($everyTier && $engine === 'kqueue' && $this->tiers && in_array('stock', $this->engines, true)) {
            $cases[] = new TestCase($this, $engine, $service, tier: 'inline');
            $cases[] = new TestCase($this, $engine, $service, tier: 'isolated');
        }

        return $cases;
    }

    /** Why it is not run with an engine on a service; null where it is. */
    public function absentOn(Service $service, string $engine): ?string
    {
        return match (true) {
            ! $service->isAmong($this->drivers) => 'only with ' . implode(', ', (array) $this->drivers),
            ! in_array($engine, $this->engines, true) => 'only with ' . implode(', ', $this->engines),
            default => $service->excludes($this),
        };
    }

    public function appliesTo(string $laravel): bool
    {
        return $this->since === null || version_compare($laravel, $this->since, '>=');
    }
}
