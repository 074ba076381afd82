<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use ReflectionClass;
use Throwable;

/**
 * What a job class declares for kqueue: `isolated`, `maxMemory`, `estimatedDuration`, `priority`, `maxTasks`, `cpuWeight`,
 * `ioWeight`, as a property, a method or an attribute. Class defaults are not in the payload, so the class is asked once.
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
            try {
                $hints[$class] = (object) (class_exists($class) ? self::hints(new ReflectionClass($class)) : []);
            } catch (Throwable) {
                // The class does not load. Its job will say so itself, with Laravel's own error.
                $hints[$class] = (object) [];
            }
        }

        return $hints;
    }

    /** @return array<string, scalar> */
    private static function hints(ReflectionClass $class): array
    {
        $defaults = $class->getDefaultProperties();
        $attributes = self::attributes($class);
        $hints = [];

        foreach (self::NAMES as $name) {
            $value = $defaults[$name] ?? $attributes[strtolower($name)] ?? self::call($class, $name);

            if (is_scalar($value)) {
                $hints[$name] = $value;
            }
        }

        return $hints;
    }

    /**
     * Attributes in the namespace Kqueue, by name, so that the classes need not exist: `#[\Kqueue\Attributes\MaxMemory(256)]`.
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

    /** A method is asked on an object whose constructor has not run: one that needs its fields says nothing. */
    private static function call(ReflectionClass $class, string $name): mixed
    {
        if (! $class->hasMethod($name) || $class->isAbstract()) {
            return null;
        }

        $method = $class->getMethod($name);

        if (! $method->isPublic() || $method->getNumberOfRequiredParameters() > 0) {
            return null;
        }

        try {
            return $method->invoke($method->isStatic() ? null : $class->newInstanceWithoutConstructor());
        } catch (Throwable) {
            return null;
        }
    }
}
