<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use ReflectionClass;
use Throwable;

/**
 * What a job class or a job object declares for kqueue: `isolated`, `maxMemory`, `estimatedDuration`, `priority`,
 * `maxTasks`, `cpuWeight`, `ioWeight`, as a property, a method or an attribute; and a limit, as an attribute. Class
 * defaults are not in the payload, so each class is inspected once. The Composer package inspects the job object at its
 * dispatch, with this same file.
 */
final class Inspect
{
    private const NAMES = ['isolated', 'maxMemory', 'estimatedDuration', 'priority', 'maxTasks', 'cpuWeight', 'ioWeight'];

    /** A `maxMemory` of this, a million MB, or more is taken for bytes and ignored. */
    private const NO_MEGABYTES = 1 << 20;

    /**
     * What a class declares, and which declared values kqueue cannot use. Loads the class.
     *
     * @param bool $properties whether properties and methods count, and not attributes alone
     * @return array{hints?: array<string, mixed>, ignored?: array<string, string>, queued?: bool, missing?: true}
     */
    public static function report(string $class, bool $properties = true): array
    {
        try {
            if (! class_exists($class)) {
                return ['missing' => true];
            }

            $class = new ReflectionClass($class);
            $limit = self::limit($class);
            $declared = self::declared($class, $properties ? $class->getDefaultProperties() : [], static fn (): ?object => $class->isAbstract()
                ? null
                : $class->newInstanceWithoutConstructor(), $properties);
        } catch (Throwable) {
            // The class does not load. Its jobs will fail with Laravel's own error.
            return ['hints' => []];
        }

        $meant = array_filter($declared, self::isMeant(...), ARRAY_FILTER_USE_BOTH);

        // A limit below what the booted app uses without any job is not usable.
        if (isset($meant['maxMemory']) && $meant['maxMemory'] <= memory_get_usage() / (1 << 20)) {
            unset($meant['maxMemory']);
        }

        $ignored = array_map(self::show(...), array_diff_key($declared, $meant));

        if ($limit !== null && ($limited = self::limits($limit)) !== []) {
            $meant['limit'] = $limited;
        } elseif ($limit !== null) {
            $ignored['limit'] = self::parts($limit);
        }

        return ['hints' => $meant, 'queued' => self::isQueued($class)] + ($ignored === [] ? [] : ['ignored' => $ignored]);
    }

    /** Whether a class is queued: by itself, or by a package inside a job of its own. */
    private static function isQueued(ReflectionClass $class): bool
    {
        if ($class->implementsInterface(\Illuminate\Contracts\Queue\ShouldQueue::class)) {
            return true;
        }

        $traits = class_uses_recursive($class->getName());

        return array_intersect($traits, ['Lorisleiva\Actions\Concerns\AsJob', 'Spatie\QueueableAction\QueueableAction']) !== [];
    }

    /** The hints for each job of a class; without limits, which apply to the class. @return array<string, scalar> */
    public static function ofClass(string $class, bool $properties = true): array
    {
        return array_diff_key(self::report($class, $properties)['hints'] ?? [], ['limit' => true]);
    }

    /** @return array<string, scalar> */
    public static function ofJob(object $job, bool $useProperties = true): array
    {
        $class = new ReflectionClass($job);
        $properties = [];

        foreach ((array) $job as $name => $value) {
            // Names of non-public properties are prefixed with their class, or a star, between zero bytes.
            $properties[substr((string) strrchr("\0{$name}", "\0"), 1)] ??= $value;
        }

        $declared = self::declared($class, $useProperties ? $properties + $class->getDefaultProperties() : [], static fn (): object => $job, $useProperties);

        return array_filter($declared, self::isMeant(...), ARRAY_FILTER_USE_BOTH);
    }

    /** The first argument of an attribute in the namespace Kqueue; null without the attribute. */
    public static function attribute(object $job, string $name): mixed
    {
        return self::attributes(new ReflectionClass($job))[strtolower($name)] ?? null;
    }

    /**
     * @param array<string, mixed> $properties
     * @param \Closure(): ?object $job on which methods are called
     * @return array<string, mixed>
     */
    private static function declared(ReflectionClass $class, array $properties, \Closure $job, bool $methods): array
    {
        $attributes = self::attributes($class);
        $declared = [];

        foreach (self::NAMES as $name) {
            $declared[$name] = $properties[$name] ?? $attributes[strtolower($name)] ?? ($methods ? self::call($class, $name, $job) : null);
        }

        return array_filter($declared, static fn (mixed $value): bool => $value !== null);
    }

    /** Whether a value is valid for kqueue. The app may use a property of that name for something else. */
    private static function isMeant(mixed $value, string $name): bool
    {
        return match ($name) {
            'isolated' => is_bool($value) || $value === 0 || $value === 1,
            'priority' => is_numeric($value),
            'estimatedDuration' => is_numeric($value) && $value >= 0,
            'maxMemory' => is_numeric($value) && $value > 0 && $value < self::NO_MEGABYTES,
            default => is_numeric($value) && $value > 0,
        };
    }

    /** The arguments of `#[Kqueue\Limit]`, by their names. @return array<string, mixed>|null */
    private static function limit(ReflectionClass $class): ?array
    {
        for ($at = $class; $at; $at = $at->getParentClass()) {
            foreach ($at->getAttributes() as $attribute) {
                if (strtolower($attribute->getName()) === 'kqueue\\limit') {
                    $limit = [];

                    foreach ($attribute->getArguments() as $name => $value) {
                        $limit[is_int($name) ? ['concurrent', 'rate', 'by', 'burst'][$name] ?? $name : $name] = $value;
                    }

                    return $limit;
                }
            }
        }

        return null;
    }

    /**
     * The valid parts of a limit: `concurrent` (jobs), `rate` (starts, in seconds), `burst` (starts at once), `by`
     * (what is counted separately). Empty without a valid `concurrent` or `rate`.
     *
     * @param array<string, mixed> $limit
     * @return array<string, mixed>
     */
    private static function limits(array $limit): array
    {
        $counts = static fn (mixed $count): bool => is_int($count) && $count >= 1 && $count <= 1_000_000;
        $rate = preg_match('~^\s*([1-9]\d{0,6})\s*/\s*([smh])\s*$~D', is_string($limit['rate'] ?? null) ? $limit['rate'] : '', $parts) === 1
            ? [(int) $parts[1], ['s' => 1, 'm' => 60, 'h' => 3600][$parts[2]]]
            : null;
        $limits = array_filter([
            'concurrent' => $counts($limit['concurrent'] ?? null) ? $limit['concurrent'] : null,
            'rate' => $rate !== null && $counts($rate[0]) ? $rate : null,
        ]);

        return $limits === [] ? [] : $limits + array_filter([
            'burst' => $counts($limit['burst'] ?? null) ? $limit['burst'] : null,
            'by' => is_string($limit['by'] ?? null) && strlen($limit['by']) <= 100 ? $limit['by'] : null,
        ]);
    }

    /** @param array<int|string, mixed> $limit by its parts */
    public static function parts(array $limit): string
    {
        return implode(', ', array_map(
            static fn (string|int $name, mixed $value): string => $name.': '.self::show($value),
            array_keys($limit),
            $limit,
        ));
    }

    /** A value, for messages. */
    private static function show(mixed $value): string
    {
        return match (true) {
            is_string($value) => "'".substr($value, 0, 40)."'",
            is_scalar($value) => var_export($value, true),
            default => 'of type '.get_debug_type($value),
        };
    }

    /**
     * Attributes in the namespace Kqueue, by name, so that the classes need not exist: `#[\Kqueue\MaxMemory(256)]`.
     *
     * @return array<string, mixed>
     */
    private static function attributes(ReflectionClass $class): array
    {
        $found = [];

        for ($at = $class; $at; $at = $at->getParentClass()) {
            foreach ($at->getAttributes() as $attribute) {
                if (str_starts_with(strtolower($attribute->getName()), 'kqueue\\')) {
                    $short = strtolower(substr((string) strrchr($attribute->getName(), '\\'), 1));
                    $found[$short] ??= array_values($attribute->getArguments())[0] ?? true;
                }
            }
        }

        return $found;
    }

    /**
     * Calls a declaring method; null if it throws. For a class, the object is made without its constructor, so a method
     * that needs its fields declares nothing. A method with parameters is something else, such as a mailable's
     * `priority()`, which sets it.
     */
    private static function call(ReflectionClass $class, string $name, \Closure $job): mixed
    {
        if (! $class->hasMethod($name)) {
            return null;
        }

        $method = $class->getMethod($name);

        if (! $method->isPublic() || $method->getNumberOfParameters() > 0) {
            return null;
        }

        try {
            $on = $method->isStatic() ? null : $job();

            return $method->isStatic() || $on !== null ? $method->invoke($on) : null;
        } catch (Throwable) {
            return null;
        }
    }
}
