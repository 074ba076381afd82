<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Illuminate\Contracts\Foundation\Application;

/**
 * Keeps forks from drawing the same "random" numbers: generators that the app has seeded while booting are reseeded.
 */
final class Randomness
{
    /** Limit of the values searched for engines. */
    private const OBJECTS = 50_000;

    /** PHP's own classes of engines that have a state. */
    private const ENGINES = ['Random\Engine\Mt19937', 'Random\Engine\PcgOneseq128XslRr64', 'Random\Engine\Xoshiro256StarStar'];

    /** @var list<object> */
    private array $engines;

    /** Whether the generator behind `lcg_value()` has been used. PHP seeds it at its first use and never again. */
    private bool $lcg;

    private bool $gmp;

    public function __construct(Application $app)
    {
        $this->engines = PHP_VERSION_ID >= 80200 ? self::find($app) : [];
        $this->lcg = self::isLcgSeeded();
        $this->gmp = function_exists('gmp_random_seed');
    }

    /** In the template: draws more numbers than a fork is likely to use, so that the next fork starts elsewhere. */
    public function beforeFork(): void
    {
        $this->lcg && self::lcg(random_int(5_000, 10_000));
    }

    /** Draws $count numbers and returns the last. */
    private static function lcg(int $count = 1): float
    {
        // It is deprecated since PHP 8.4, which the app's own handler would log.
        set_error_handler(static fn (): bool => true);

        try {
            for (; $count > 1; $count--) {
                lcg_value();
            }

            return lcg_value();
        } finally {
            restore_error_handler();
        }
    }

    public function afterFork(): void
    {
        mt_srand();
        $this->gmp && gmp_random_seed(random_int(PHP_INT_MIN, PHP_INT_MAX));

        foreach ($this->engines as $engine) {
            $engine->__unserialize((new ($engine::class))->__serialize());
        }
    }

    /** Two forks draw the same number only if it has been seeded before them. They end without running anything else. */
    private static function isLcgSeeded(): bool
    {
        $drawn = [];

        for ($i = 0; $i < 2; $i++) {
            $pair = stream_socket_pair(STREAM_PF_UNIX, STREAM_SOCK_STREAM, 0);

            if ($pair === false || ($pid = @pcntl_fork()) < 0) {
                return true;
            }

            if ($pid === 0) {
                fwrite($pair[1], pack('E', self::lcg()));
                posix_kill(getmypid(), SIGKILL);
            }

            fclose($pair[1]);
            $drawn[] = stream_get_contents($pair[0]);
            fclose($pair[0]);
            pcntl_waitpid($pid, $status);
        }

        return strlen((string) $drawn[0]) !== 8 || $drawn[0] === $drawn[1];
    }

    /**
     * Engines reachable from the container, global variables, and static variables of classes and functions.
     *
     * @return list<object>
     */
    private static function find(Application $app): array
    {
        $found = $seen = [];
        $todo = [$app, ...array_values($GLOBALS)];

        foreach (get_declared_classes() as $class) {
            try {
                $class = new \ReflectionClass($class);
                $class->isUserDefined() && array_push($todo, ...array_values($class->getStaticProperties() ?? []));
            } catch (\Throwable) {
                // A default value that cannot be evaluated will fail where it is used.
            }
        }

        foreach (get_defined_functions()['user'] as $function) {
            array_push($todo, ...array_values((new \ReflectionFunction($function))->getStaticVariables()));
        }

        for ($left = self::OBJECTS; $todo !== [] && $left > 0; $left--) {
            $value = array_pop($todo);

            if (is_object($value)) {
                if (isset($seen[$id = spl_object_id($value)])) {
                    continue;
                }

                $seen[$id] = $value;

                if (in_array($value::class, self::ENGINES, true)) {
                    $found[] = $value;
                }

                $value = match (true) {
                    $value instanceof \Closure => self::bound($value),
                    $value instanceof \UnitEnum => [],
                    default => (array) $value,
                };
            }

            foreach (is_array($value) ? $value : [] as $inner) {
                if (is_object($inner) || is_array($inner)) {
                    $todo[] = $inner;
                }
            }
        }

        return $found;
    }

    /** @return array<mixed> */
    private static function bound(\Closure $closure): array
    {
        $closure = new \ReflectionFunction($closure);

        return [$closure->getClosureThis(), ...array_values($closure->getStaticVariables())];
    }
}
