<?php

/**
 * Gives an app a day that it might have had, in its history, as the runtime writes it: what somebody who looks at the pages
 * wants to find out is in it. The runtime must not run meanwhile.
 *
 * usage: tests/web/past.php HISTORY [CLASSES]
 *
 *   CLASSES   so many further classes, which have run a little
 */

declare(strict_types=1);

[$file, $further] = [$argv[1], (int) ($argv[2] ?? 0)];
$db = new PDO("sqlite:{$file}");
$db->setAttribute(PDO::ATTR_ERRMODE, PDO::ERRMODE_EXCEPTION);
if ((int) $db->query('PRAGMA user_version')->fetchColumn() !== 1) {
    throw new RuntimeException("{$file}: tables of another version");
}

/** @param list<int> $values milliseconds; as src/core/histogram.rs has it */
function histogram(array $values): string
{
    $number = static function (int $value): string {
        for ($bytes = ''; $value >= 0x80; $value >>= 7) {
            $bytes .= chr($value & 0x7F | 0x80);
        }

        return $bytes . chr($value);
    };
    $buckets = [];
    foreach ($values as $value) {
        $bucket = $value === 0 ? 0 : min((int) floor(log($value, 2) * 8) + 1, 257);
        $buckets[$bucket] = ($buckets[$bucket] ?? 0) + 1;
    }
    ksort($buckets);
    $bytes = $number(array_sum($values)) . $number($values === [] ? 0 : max($values));
    foreach ($buckets as $bucket => $count) {
        $bytes .= $number($bucket) . $number($count);
    }

    return $bytes;
}

/** A number of about this size, mostly a little above it. */
$about = static fn (float $middle): int => (int) round($middle * (0.75 + mt_rand() / mt_getrandmax() * 0.5) * (mt_rand(0, 19) === 0 ? 2.2 : 1));
$names = [];
$name = static function (string $name, ?string $tier = null, ?string $why = null) use ($db, &$names): int {
    if (! isset($names[$name])) {
        $db->prepare('INSERT OR IGNORE INTO names (name) VALUES (?)')->execute([$name]);
        $found = $db->prepare('SELECT id FROM names WHERE name = ?');
        $found->execute([$name]);
        $names[$name] = (int) $found->fetchColumn();
        $tier === null || $db->prepare('UPDATE names SET tier = ?, why = ? WHERE id = ?')->execute([$tier, $why, $names[$name]]);
    }

    return $names[$name];
};
mt_srand(7);
$db->beginTransaction();
$minute = intdiv(time(), 60) * 60;
$hours = [];
// Minutes ago: an import fills the queue from 38 to 22; the queue's server is away from 12 to 9; a deploy at 30 makes
// ResizeImage slow.
$classes = [
    'App\Jobs\SendReceipt' => ['default', 'inline', 'history: p90 of 20 runs is 24 ms', 40, 18, 31],
    'App\Jobs\SyncStock' => ['default', 'inline', 'history: p90 of 20 runs is 52 ms', 14, 40, 34],
    'App\Jobs\ResizeImage' => ['media', 'pooled', 'estimatedDuration 5 s', 6, 600, 58],
    'App\Jobs\RenderVideo' => ['media', 'isolated', 'maxMemory 256 MB', 1, 5_200, 118],
    'App\Jobs\ImportCatalog' => ['default', 'pooled', 'history: p90 of 9 runs is 1.2 s', 0, 320, 96],
    'App\Jobs\SendNewsletter' => ['mail', 'inline', 'history: p90 of 20 runs is 12 ms', 9, 9, 30],
];
for ($ago = 24 * 60; $ago >= 1; $ago--) {
    if ($ago <= 12 && $ago > 9) {
        $sizes[] = [$minute - $ago * 60, 'default', 60 * (13 - $ago), 60 * (13 - $ago)];
        continue;
    }
    $import = $ago <= 38 && $ago > 22;
    foreach ($classes as $class => [$queue, $tier, $why, $many, $ms, $mb]) {
        $many = $class === 'App\Jobs\ImportCatalog' && $import ? 240 : $many;
        $slow = $class === 'App\Jobs\ResizeImage' && $ago <= 30 ? 4.5 : 1;
        $count = $many === 0 ? 0 : max(0, (int) round($many * (0.7 + 0.3 * sin($ago / 9)) + mt_rand(-2, 2)));
        if ($count === 0) {
            continue;
        }
        $waits = $runs = [];
        for ($one = 0; $one < $count; $one++) {
            $runs[] = $about($ms * $slow);
            $waits[] = $about($queue === 'default' && $import ? 9_000 : 12);
        }
        $failed = $class === 'App\Jobs\SyncStock' ? mt_rand(0, 1) : ($slow > 1 ? mt_rand(0, 1) : 0);
        $row = [60, $minute - $ago * 60, $name($class, $tier, $why), $name($queue), $count - $failed, $failed, $mb << 20, array_sum($runs) * 400, $waits, $runs];
        $rows[] = $row;
    }
    foreach (['default' => $import ? (38 - $ago) * 90 + 40 : mt_rand(0, 4), 'media' => mt_rand(0, 3), 'mail' => 0] as $queue => $backlog) {
        $sizes[] = [$minute - $ago * 60, $queue, $backlog, $import && $queue === 'default' ? (38 - $ago) * 7 : 0];
    }
}
for ($number = 0; $number < $further; $number++) {
    $class = sprintf('App\Jobs\Class%04d', $number);
    $rows[] = [60, $minute - 300 * 60, $name($class, 'pooled', 'nothing known'), $name('default'), 3, 0, 30 << 20, 9_000, [3, 90], [10 + $number, 20 + $number, 4_000]];
}
foreach ($rows as [$span, $at, $class, $queue, $done, $failed, $peak, $cpu, $waits, $runs]) {
    $hour = intdiv($at, 3600) * 3600;
    $sum = &$hours["{$hour} {$class} {$queue}"];
    $sum ??= [3600, $hour, $class, $queue, 0, 0, 0, 0, [], []];
    $sum = [3600, $hour, $class, $queue, $sum[4] + $done, $sum[5] + $failed, max($sum[6], $peak), $sum[7] + $cpu, [...$sum[8], ...$waits], [...$sum[9], ...$runs]];
    unset($sum);
}
$insert = $db->prepare('INSERT OR REPLACE INTO figures (span, at, class, queue, done, released, failed, "left", lost, memory_peak, cpu_usec, wait, duration) VALUES (?,?,?,?,?,0,?,0,0,?,?,?,?)');
foreach ([...$rows, ...array_values($hours)] as $row) {
    foreach ($row as $column => $value) {
        $insert->bindValue($column + 1, is_array($value) ? histogram($value) : $value, is_array($value) ? PDO::PARAM_LOB : PDO::PARAM_INT);
    }
    $insert->execute();
}
$insert = $db->prepare('INSERT OR REPLACE INTO sizes (span, at, queue, backlog, oldest) VALUES (?,?,?,?,?)');
foreach ($sizes as [$at, $queue, $backlog, $oldest]) {
    $insert->execute([60, $at, $name($queue), $backlog, $oldest]);
}
$event = $db->prepare('INSERT OR REPLACE INTO events (id, kind, text, tier, worker, job, ended, grade) VALUES (?,?,?,?,?,?,?,?)');
$at = static fn (float $ago): int => (int) (($minute - $ago * 60) * 1000);
foreach ([
    [95, 'runtime', 'started: kqueue 0.1.0, Laravel 13.31 on PHP 8.4', null, null, null],
    [30, 'deploy', 'queue:restart: the app was deployed, every process is replaced', null, null, null],
    [29.6, 'worker', 'replaced: it ran the code from before the deploy', 'pooled', 4, null],
    [12, 'outage', 'redis does not answer: connection refused (127.0.0.1:6379)', null, null, 9],
    [5, 'worker', 'killed: it was above its memory limit of 64 MB', 'isolated', 31, null],
] as [$ago, $kind, $text, $tier, $worker, $ended]) {
    $event->execute([$at($ago) << 20, $kind, $text, $tier, $worker, null, $ended === null ? null : $at($ended), $kind === "worker" ? 0 : 1]);
}
$db->commit();
