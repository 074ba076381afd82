<?php

declare(strict_types=1);

namespace Kqueue\Tests;

/** The command line of the suite. */
final class Options
{
    public const USAGE = <<<'TEXT'
        usage: tests/laravel/run [options]

          --engine stock|kqueue|both   what works the queue (both; stock alone while KQUEUE_BIN names no binary)
          --driver LIST                where queues live: redis,sqlite (the default), mariadb, pgsql, …
          --row LIST                   numbers, ranges and names: 3,4,10-20,overlap
          --laravel DIR                a directory whose vendor/ is a Laravel installed by Composer
          --root DIR                   run all of it inside this root file system (see tests/machine/rootfs)
          --routed                     kqueue only as it routes jobs by itself, not in each tier too
          -j N                         cases at a time (as many as the machine bears)
          --verbose                    journal and logs of what fails
          --results FILE               how every case went, for tests/laravel/table
          --times                      how long each case took
          --keep                       leave the sandboxes, and say where
          --list                       only name the rows

        TEXT;

    public string $engine = 'both';

    /** @var list<string> */
    public array $drivers = Service::USUAL;

    public ?string $rows = null;

    public ?string $laravel = null;

    public ?string $root = null;

    public ?int $jobs = null;

    public bool $verbose = false;

    public ?string $results = null;

    public bool $times = false;

    public bool $routed = false;

    public bool $keep = false;

    public bool $list = false;

    public string $kqueue = '';

    /** @param list<string> $arguments */
    public static function parse(array $arguments): self
    {
        $options = new self();
        while (($argument = array_shift($arguments)) !== null) {
            [$name, $value] = explode('=', $argument, 2) + [1 => null];
            $take = static function () use (&$arguments, $value, $name): string {
                return $value ?? array_shift($arguments) ?? self::refuse("{$name} needs a value");
            };
            match ($name) {
                '--engine' => $options->engine = $take(),
                '--driver' => $options->drivers = explode(',', $take()),
                '--row' => $options->rows = $take(),
                '--laravel' => $options->laravel = realpath($take()) ?: self::refuse('no such directory'),
                '--root' => $options->root = realpath($take()) ?: self::refuse('no such directory'),
                '-j' => $options->jobs = max(1, (int) $take()),
                '--verbose', '-v' => $options->verbose = true,
                '--results' => $options->results = $take(),
                '--times' => $options->times = true,
                '--routed' => $options->routed = true,
                '--keep' => $options->keep = true,
                '--list' => $options->list = true,
                '--help', '-h' => self::refuse(''),
                default => self::refuse("unknown option {$name}"),
            };
        }
        in_array($options->engine, ['stock', 'kqueue', 'both'], true) || self::refuse('--engine: stock, kqueue or both');
        $unknown = array_diff($options->drivers, array_keys(Service::ALL));
        $unknown === [] || self::refuse('--driver: there are ' . implode(', ', array_keys(Service::ALL)));
        $binary = (string) getenv('KQUEUE_BIN');
        $options->kqueue = $binary === '' ? '' : (realpath($binary) ?: self::refuse("KQUEUE_BIN: no {$binary}"));
        if ($options->engine === 'kqueue' && $options->kqueue === '') {
            self::refuse('KQUEUE_BIN must name the kqueue binary');
        }

        return $options;
    }

    /** @return list<string> */
    public function engines(): array
    {
        return $this->engine !== 'both' ? [$this->engine] : ($this->kqueue === '' ? ['stock'] : ['stock', 'kqueue']);
    }

    /** @return list<Service> */
    public function services(): array
    {
        return array_map(Service::named(...), $this->drivers);
    }

    public function wants(string $id): bool
    {
        if ($this->rows === null) {
            return true;
        }
        foreach (explode(',', $this->rows) as $item) {
            if ($item === $id) {
                return true;
            }
            if (ctype_digit($id) && preg_match('/^(\d+)-(\d+)$/', $item, $range) && $id >= $range[1] && $id <= $range[2]) {
                return true;
            }
        }

        return false;
    }

    private static function refuse(string $why): never
    {
        fwrite(STDERR, ($why === '' ? '' : "run: {$why}\n\n") . self::USAGE);
        exit($why === '' ? 0 : 2);
    }
}
