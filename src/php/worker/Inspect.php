<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use ReflectionClass;
use Throwable;

/**
 * What a job class, or a job, declares for kqueue: `isolated`, `maxMemory`, `estimatedDuration`, `priority`, `maxTasks`,
 * `cpuWeight`, `ioWeight`, as a property, a method or an attribute. Class defaults are not in the payload, so the class is
 * asked once. The Composer package asks the job itself, at its dispatch, by this same file.
 */
final class Inspect
{
    private const NAMES = ['isolated', 'maxMemory', 'estimatedDuration', 'priority', 'maxTasks', 'cpuWeight', 'ioWeight'];

    /**
     * @param list<string> $classes
     * @return array<string, array<string, scalar>|object>
     */
    public static function classes(array $classes): array
    {
        $hints = [];

        foreach ($classes as $class) {
            $hints[$class] = (object) self::ofClass($class);
        }

        return $hints;
    }

    /** @return array<string, scalar> */
    public static function ofClass(string $class): array
    {
        try {
            if (! class_exists($class)) {
                return [];
            }

            $class = new ReflectionClass($class);

            return self::hints($class, $class->getDefaultProperties(), static fn (): ?object => $class->isAbstract()
                ? null
                : $class->newInstanceWithoutConstructor());
        } catch (Throwable) {
            // The class does not load. Its job will say so itself, with Laravel's own error.
            return [];
        }
    }

    /** @return array<string, scalar> */
    public static function ofJob(object $job): array
    {
        $class = new ReflectionClass($job);
        $properties = [];

        foreach ((array) $job as $name => $value) {
            // Those that are not public have their class, or a star, before their names.
            $properties[substr((string) strrchr("\0{$name}", "\0"), 1)] ??= $value;
        }

        return self::hints($class, $properties + $class->getDefaultProperties(), static fn (): object => $job);
    }

    /** The argument of an attribute in the namespace Kqueue. */
    public static function attribute(object $job, string $name): mixed
    {
        return self::attributes(new ReflectionClass($job))[strtolower($name)] ?? null;
    }

    /**
     * @param array<string, mixed> $properties
     * @param \Closure(): ?object $job on which methods are called
     * @return array<string, scalar>
     */
    private static function hints(ReflectionClass $class, array $properties, \Closure $job): array
    {
        $attributes = self::attributes($class);
        $hints = [];

        foreach (self::NAMES as $name) {
            $value = $properties[$name] ?? $attributes[strtolower($name)] ?? self::call($class, $name, $job);

            if (is_scalar($value)) {
                $hints[$name] = $value;
            }
        }

        return $hints;
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
     * A class is asked on an object whose constructor has not run: one that needs its fields says nothing. Methods that
     * take something are others that happen to be called so, such as a mailable's `priority()`, which sets it.
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
