<?php

declare(strict_types=1);

namespace Kqueue\Tests;

/** The results of all cases, what was observed, and whether kqueue matches stock. The source of the table. */
final class Results
{
    /** @var array<string, array<string, mixed>> observations by row and driver, while there may be more to compare */
    private array $observed = [];

    /** @var array<string, array<string, mixed>> what the table says of each row, by the row's id and title */
    private array $rows = [];

    /** @var array<string, int> how many runs of a subject were compared with stock and found the same */
    private array $same = [];

    /** @param list<Row> $rows all there are, in the order of the table */
    public function __construct(private readonly string $laravel, array $rows)
    {
        foreach ($rows as $row) {
            $this->row($row);
        }
    }

    /**
     * @param array{reasons: list<string>, observed: array<string, mixed>|null} $said
     * @return array<string, list<string>> differences from stock, by the name of the case
     */
    public function passed(TestCase $case, array $said): array
    {
        $this->note($case, true, $case->engine === 'kqueue' ? $said['reasons'] : []);
        // A scenario in which kqueue is meant to differ checks the result itself.
        if ($said['observed'] === null) {
            return [];
        }
        $key = $case->subject();
        $this->observed[$key][] = ['case' => $case] + $said;
        $stock = array_values(array_filter($this->observed[$key], static fn (array $one): bool => $one['case']->engine === 'stock'))[0] ?? null;
        if ($stock === null) {
            return [];
        }
        $differences = [];
        foreach ($this->observed[$key] as $i => $one) {
            if ($one === $stock) {
                continue;
            }
            unset($this->observed[$key][$i]);
            $lines = Comparison::of($stock['observed'], $one['observed']);
            $lines === [] ? $this->same[$key] = ($this->same[$key] ?? 0) + 1 : $differences[$one['case']->name()] = $lines;
        }

        return $differences;
    }

    public function same(): int
    {
        return array_sum($this->same);
    }

    /** @param list<string> $subjects that are run again */
    public function forget(array $subjects): void
    {
        foreach ($subjects as $subject) {
            unset($this->observed[$subject], $this->same[$subject]);
        }
        foreach ($this->rows as &$row) {
            $row['cases'] = array_values(array_filter($row['cases'], static fn (array $case): bool => ! in_array($case['subject'], $subjects, true)));
        }
    }

    public function failed(TestCase $case): void
    {
        $this->note($case, false, []);
    }

    public function absent(Row $row, string $why): void
    {
        $this->row($row)['absent'][] = $why;
    }

    public function write(string $file): void
    {
        file_put_contents($file, json_encode(['laravel' => $this->laravel, 'rows' => array_values($this->rows)], JSON_PRETTY_PRINT | JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE) . "\n");
    }

    /** @param list<string> $reasons */
    private function note(TestCase $case, bool $passed, array $reasons): void
    {
        $row = &$this->row($case->row);
        $row['cases'][] = ['subject' => $case->subject(), 'driver' => $case->service->name, 'engine' => $case->engine, 'tier' => $case->tier, 'back' => $case->back, 'passed' => $passed];
        $row['reasons'] = array_values(array_unique([...$row['reasons'], ...$reasons]));
    }

    /** @return array<string, mixed> */
    private function &row(Row $row): array
    {
        $key = "{$row->id} {$row->title}";
        $this->rows[$key] ??= ['id' => $row->id, 'title' => $row->title, 'reasons' => [], 'cases' => [], 'absent' => []];

        return $this->rows[$key];
    }
}
