<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Illuminate\Contracts\Debug\ExceptionHandler;
use Illuminate\Contracts\Foundation\Application;
use Throwable;

/**
 * Inspects classes in a child process, so that a class that does not compile, ends PHP or hangs when it is loaded does
 * not affect this process.
 */
final class Inspector
{
    /** Seconds that one class may take. */
    private const PATIENCE = 2.0;

    /** @var resource|null from the child */
    private $pipe = null;

    private int $child = 0;

    private string $buffer = '';

    /** Number of classes in $left that the child has still to report. Those behind them were added after its fork. */
    private int $given = 0;

    /** Whether the child has reported the error that ends it. */
    private bool $explained = false;

    /** Deadline for the child's next report, in seconds since 1970. */
    private float $until = 0.0;

    /** @var list<string> classes not inspected yet; the first one is being loaded */
    private array $left = [];

    /** @var array<string, array<string, mixed>> reports by class; see {@see Inspect::report()} */
    private array $found = [];

    private bool $properties = true;

    public function __construct(private Application $app)
    {
    }

    /**
     * Starts to inspect these classes, after those that are pending.
     *
     * @param list<string> $classes
     * @param bool $properties whether properties and methods count, and not attributes alone
     */
    public function ask(array $classes, bool $properties): void
    {
        $this->properties = $properties;
        $this->left = array_values(array_unique([...$this->left, ...$classes]));
        $this->child === 0 && $this->start();
    }

    /** @return resource|null what becomes readable when there is something to collect */
    public function pipe()
    {
        return $this->pipe;
    }

    /** Seconds until {@see collect()} has something to do at the latest, and no more than $most. */
    public function patience(?float $most): ?float
    {
        return $this->child === 0 ? $most : min($most ?? self::PATIENCE, max(0.0, $this->until - microtime(true)));
    }

    /** In a fork of this process: drops the child, which is its parent's. */
    public function forget(): void
    {
        $this->pipe !== null && fclose($this->pipe);
        [$this->pipe, $this->child, $this->left] = [null, 0, []];
    }

    /** Reads the child's reports. True once every class is inspected. */
    public function collect(): bool
    {
        while ($this->child !== 0) {
            $chunk = @fread($this->pipe, 65536);

            if ($chunk !== '' && $chunk !== false) {
                $this->buffer .= $chunk;
                $this->read();
            } elseif (feof($this->pipe)) {
                $this->end('loading it ends the PHP process');
            } elseif (microtime(true) >= $this->until) {
                $this->end('loading it takes longer than '.self::PATIENCE.' s');
            } else {
                return false;
            }
        }

        return $this->left === [];
    }

    /**
     * The reports since the last call.
     *
     * @return array<string, array<string, mixed>>
     */
    public function take(): array
    {
        return array_splice($this->found, 0);
    }

    /**
     * Loads the classes that a child has loaded without harm into this process, so that its forks need not.
     *
     * @param array<string, array<string, mixed>> $found
     */
    public static function load(array $found): void
    {
        ob_start(static fn (): string => '', 1);

        foreach ($found as $class => $report) {
            try {
                isset($report['hints']) && class_exists($class);
            } catch (Throwable) {
                // Its jobs will fail with the error.
            }
        }

        ob_end_clean();
    }

    /**
     * The header of a HINTS frame with these reports.
     *
     * @param array<string, array<string, mixed>> $found
     * @return array<string, mixed>
     */
    public static function frame(array $found): array
    {
        $column = static fn (string $name): object => (object) array_filter(array_map(static fn (array $report): mixed => $report[$name] ?? null, $found));

        return [
            'classes' => (object) array_map(static fn (array $report): object => (object) ($report['hints'] ?? []), $found),
            'missing' => array_map('strval', array_keys(array_filter($found, static fn (array $report): bool => isset($report['missing'])))),
            'unloadable' => $column('unloadable'),
            'ignored' => $column('ignored'),
        ];
    }

    /**
     * Inspects these classes and waits for all of them, for $seconds at most.
     *
     * @param list<string> $classes
     * @return array<string, array<string, mixed>>
     */
    public function now(array $classes, bool $properties, float $seconds = self::PATIENCE): array
    {
        for ($this->ask($classes, $properties), $until = microtime(true) + $seconds; ! $this->collect() && microtime(true) < $until;) {
            $read = [$this->pipe];
            $none = null;
            @stream_select($read, $none, $none, 0, (int) ($this->patience(0.1) * 1e6));
        }

        $this->kill();
        $this->left = [];

        return $this->take();
    }

    private function start(): void
    {
        if ($this->left === []) {
            return;
        }

        // Without pcntl there is no child. A class that ends PHP then ends this process, an idle worker, and is not
        // inspected again.
        if (! function_exists('pcntl_fork') || ($pair = stream_socket_pair(STREAM_PF_UNIX, STREAM_SOCK_STREAM, 0)) === false) {
            $this->inspectHere();

            return;
        }

        $child = @pcntl_fork();

        if ($child < 0) {
            array_map('fclose', $pair);
            $this->inspectHere();

            return;
        }

        if ($child === 0) {
            $this->inspect($pair[1]);
        }

        fclose($pair[1]);
        stream_set_blocking($pair[0], false);
        [$this->pipe, $this->child, $this->buffer, $this->given] = [$pair[0], $child, '', count($this->left)];
        $this->until = microtime(true) + self::PATIENCE;
        $this->explained = false;
    }

    private function inspectHere(): void
    {
        foreach (array_splice($this->left, 0) as $class) {
            $this->found[$class] = Inspect::report($class, $this->properties);
        }
    }

    /**
     * In the child: reports on one class after the other, then kills itself, so that no shutdown code of the app runs.
     *
     * @param resource $to
     */
    private function inspect($to): never
    {
        // The app's error handling and the output of its classes are suppressed.
        @ini_set('display_errors', '0');
        @ini_set('log_errors', '0');
        ob_start(static fn (): string => '', 1);
        $this->app->instance(ExceptionHandler::class, new class implements ExceptionHandler {
            public function report(Throwable $e)
            {
            }

            public function shouldReport(Throwable $e)
            {
                return false;
            }

            public function render($request, Throwable $e)
            {
            }

            public function renderForConsole($output, Throwable $e)
            {
            }
        });
        $loading = '';
        register_shutdown_function(static function () use ($to, &$loading): void {
            $error = error_get_last();
            $why = $error === null ? 'loading it ends the PHP process' : "{$error['message']} in {$error['file']}:{$error['line']}";
            @fwrite($to, json_encode([$loading, ['unloadable' => $why]], JSON_INVALID_UTF8_SUBSTITUTE)."\n");
            posix_kill(getmypid(), SIGKILL);
        });

        foreach ($this->left as $loading) {
            error_clear_last();
            fwrite($to, json_encode([$loading, Inspect::report($loading, $this->properties)], JSON_INVALID_UTF8_SUBSTITUTE | JSON_PARTIAL_OUTPUT_ON_ERROR)."\n");
        }

        posix_kill(getmypid(), SIGKILL);
        exit;
    }

    private function read(): void
    {
        while (($end = strpos($this->buffer, "\n")) !== false) {
            $said = json_decode(substr($this->buffer, 0, $end), true);
            $this->buffer = substr($this->buffer, $end + 1);
            $this->until = microtime(true) + self::PATIENCE;

            if (is_array($said) && ($said[0] ?? null) === ($this->left[0] ?? '') && is_array($said[1] ?? null)) {
                $this->found[array_shift($this->left)] = $said[1];
                $this->given--;
                $this->explained = isset($said[1]['unloadable']);
            }
        }
    }

    /** Ends the child. The class that it was loading is reported as unloadable; a new child inspects the others. */
    private function end(string $why): void
    {
        $this->kill();

        if ($this->given > 0 && ! $this->explained) {
            $this->found[array_shift($this->left)] = ['unloadable' => $why];
        }

        $this->start();
    }

    private function kill(): void
    {
        if ($this->child === 0) {
            return;
        }

        posix_kill($this->child, SIGKILL);
        pcntl_waitpid($this->child, $status);
        fclose($this->pipe);
        [$this->pipe, $this->child] = [null, 0];
    }
}
