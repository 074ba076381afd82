<?php

/** Queues as the backends hold them: many jobs at once, several queues, names of keys, rows at their limits. */

declare(strict_types=1);

use App\Jobs\Plain;
use App\Jobs\Sleeps;
use App\Jobs\Throws;
use App\Jobs\Timed;
use App\Jobs\Writes;
use Illuminate\Queue\LuaScripts;
use Kqueue\Tests\RedisBackend;
use Kqueue\Tests\TestApp;
use Kqueue\Tests\Wait;
use Kqueue\Tests\World;

/** Puts so many copies of a delayed job on the queue that are all due: what Laravel writes, faster than it does. */
$delay = static function (World $w, object $job, int $count): Redis {
    $w->dispatch($job, delay: 60);
    $redis = $w->sandbox->redis->client();
    $redis->select(1);
    $key = $w->sandbox->prefix . 'queues:default:delayed';
    $payload = $redis->zRange($key, 0, 0)[0];
    ['uuid' => $uuid, 'id' => $id] = json_decode($payload, true);
    $redis->del($key);
    for ($i = 0; $i < $count; $i += 1000) {
        $members = [];
        for ($n = $i; $n < $i + 1000; $n++) {
            array_push($members, time() - 1, strtr($payload, [$uuid => substr($uuid, 0, -12) . sprintf('%012d', $n), $id => sprintf('%032d', $n)]));
        }
        $redis->zAdd($key, ...$members);
    }

    return $redis;
};

/** Microseconds that the server has spent at most on one script since the last reset. */
$longest = static fn (Redis $redis): int => max([0, ...array_map(
    static fn (array $entry): int => str_starts_with(strtoupper($entry[3][0]), 'EVAL') ? $entry[2] : 0,
    $redis->slowlog('get', 1000),
)]);

/** @param bool $batches whether the app bounds what one migration moves */
$crowd = static function (World $w, bool $batches) use ($delay, $longest): void {
    $w->leftToChance('stock is stopped on its way');
    $jobs = 100_000;
    $redis = $delay($w, new Timed(), $jobs);
    $redis->config('SET', 'slowlog-log-slower-than', '0');
    $redis->config('SET', 'slowlog-max-len', '100000');
    // What it takes to move all of them by one script of Laravel's: elsewhere, and back again.
    $delayed = $w->sandbox->prefix . 'queues:default:delayed';
    $redis->eval(LuaScripts::migrateExpiredJobs(), [$delayed, 'elsewhere', 'elsewhere:notify', time(), -1], 3);
    $atOnce = $longest($redis);
    $w->expectSame($jobs, $redis->lLen('elsewhere'), 'jobs moved');
    $redis->del('elsewhere', 'elsewhere:notify');
    $delay($w, new Timed(), $jobs);
    $redis->slowlog('reset');

    $daemon = $w->start();
    Wait::until(static fn (): bool => $redis->zCard($delayed) === 0, 'all to be due', 120.0);
    $took = $longest($redis);
    $redis->config('SET', 'slowlog-log-slower-than', '-1');
    $batched = $batches && $w->laravelIs('9.23');
    $w->differs(
        'kqueue moves a thousand at a time at the most, even where the app sets no limit',
        stock: fn () => $batched
            ? $w->expect($took < $atOnce / 4, "no script took long ({$took} of {$atOnce} µs)")
            : $w->expect($took > $atOnce / 4, "one script took long ({$took} of {$atOnce} µs)"),
        kqueue: fn () => $w->expect($took < $atOnce / 4, "no script took long ({$took} of {$atOnce} µs)"),
    );
    // A hundred thousand take stock more than a minute: here it shows that it is at it.
    $rest = $w->engine->isKqueue() ? 0 : $jobs - 2000;
    Wait::until(static fn (): bool => $w->size() <= $rest, 'the jobs to be done', 200.0, 20000);
    $w->expectSame(0, $daemon->stop(), 'exit status');
    $w->expectFailed(0);
    if ($w->engine->isKqueue()) {
        $w->expectGone();
        $w->expectContains('100000 done', $daemon->output(), 'what kqueue says in the end');
    }
};
row(59, '100,000 delayed jobs due at once, migration_batch_size -1: all run', fn (World $w) => $crowd($w, false), drivers: ['redis'], env: ['RECORD' => 'false'], ownServer: true, tiers: false);
row(59, '100,000 delayed jobs due at once, migration_batch_size 1000: all run, and no script holds up the server', fn (World $w) => $crowd($w, true), drivers: ['redis'], env: ['RECORD' => 'false', 'QUEUE_MIGRATION_BATCH_SIZE' => 1000], ownServer: true, tiers: false);

row(60, 'two queues, the first always empty, block_for 5: nobody waits for the first while the second has work', function (World $w): void {
    $w->dispatchMany(new Plain(), 1000, 'low');
    $w->leftToChance('stock is stopped on its way');
    $daemon = $w->start(['queue' => 'high,low']);
    $gap = static function () use ($w): float {
        $ends = array_column($w->journal('end'), 't');
        sort($ends);

        return max([0.0, ...array_map(static fn (float $a, float $b): float => $b - $a, array_slice($ends, 0, -1), array_slice($ends, 1))]);
    };
    if ($w->engine->isKqueue() || $w->laravelIs('11.27')) {
        Wait::until(fn (): bool => $w->size('low') === 0, 'the queue to be empty', 60.0, 20000);
        $w->expect($gap() < 4, "no job waited for the blocking call ({$gap()} s between two)");
    } else {
        // Each of them waits for a job on the first queue.
        $w->waitFor('end', 2, 30.0);
        $w->expect($gap() >= 4, "each job waited for the blocking call ({$gap()} s between two)");
    }
    $daemon->stop(30.0);
    $w->expectFailed(0);
}, drivers: ['redis'], env: ['RECORD' => 'false', 'QUEUE_BLOCK_FOR' => 5], tiers: false);

row(61, 'queue order high,low: high is drained first', function (World $w): void {
    $w->leftToChance('how far the second queue gets');
    // Longer than it takes to look at a queue, however busy the machine is.
    $w->dispatchMany(new Sleeps(100), 50, 'low');
    $high = $w->dispatchMany(new Sleeps(20), 20, 'high');
    $daemon = $w->start(['queue' => 'high,low', 'max-concurrent-inline' => 1, 'max-concurrent-pooled' => 1, 'pool-size' => 1, 'pool-max-size' => 1]);
    $w->waitFor('end', 30, 60.0);
    // One that comes while the others are at it goes before those that wait.
    $late = $w->dispatch(new Sleeps(20), 'high');
    $before = count($w->journal('start'));
    $w->waitFor('end', uuid: $late);
    $order = array_column($w->journal('start'), 'uuid');
    $daemon->stop();
    $w->expectSame([], array_diff(array_slice($order, 0, 20), $high), 'low jobs among the first');
    $between = array_search($late, $order, true) - $before;
    // kqueue may have a few at hand for the process that runs them, and looks into a SQLite file now and then only.
    $w->expect($between <= 12, "it did not wait behind them ({$between} started before it)");
    $w->expect(count($order) < 71, 'low jobs were left');
}, tiers: false);

/** Queues in several slots, in strict order, delayed and released: all keys of a queue are where its name puts them. */
$cluster = static function (World $w): void {
    $names = $w->laravelIs('13.5') ? ['high', 'default', 'low', '{own}tag'] : ['{high}', '{default}', '{low}', '{own}tag'];
    $tag = static fn (string $name): string => str_contains($name, '{') ? $name : "{{$name}}";
    $prefix = $w->sandbox->prefix;
    $redis = $w->sandbox->server->client();
    $uuids = [];
    foreach ($names as $name) {
        $uuids[] = $w->dispatch((new Throws(times: 1))->with(['tries' => 3]), $name);
        $uuids[] = $later = $w->dispatch(new Plain(), $name, delay: 60);
        $w->expectSame([1, 1, 1], [$redis->lLen("{$prefix}queues:{$tag($name)}"), $redis->lLen("{$prefix}queues:{$tag($name)}:notify"), $redis->zCard("{$prefix}queues:{$tag($name)}:delayed")], "keys of {$name}");
    }
    $last = $w->dispatch((new Sleeps(400))->with(['tries' => 1]), $names[0], delay: 60);
    $daemon = $w->start(['queue' => implode(',', $names)]);
    Wait::until(fn (): bool => count($w->journal('end')) === count($names), 'the jobs, at their second attempt', 30.0, 20000);
    foreach ($names as $name) {
        $delayed = "{$prefix}queues:{$tag($name)}:delayed";
        foreach ($redis->zRange($delayed, 0, -1) as $member) {
            $redis->zAdd($delayed, ['XX'], time() - 1, $member);
        }
    }
    $w->waitFor('start', uuid: $last);
    $w->expect($redis->zCard("{$prefix}queues:{$tag($names[0])}:reserved") > 0, 'it is among the reserved jobs');
    Wait::until(fn (): bool => count($w->journal('end')) === 2 * count($names) + 1, 'the delayed jobs', 30.0, 20000);
    Wait::until(fn (): bool => $redis->zCard("{$prefix}queues:{$tag($names[0])}:reserved") === 0, 'the last to be removed');
    $daemon->stop();
    $w->expectFailed(0);
    $left = array_filter($redis->keys("{$prefix}queues:*") ?: [], static fn (string $key): bool => ! str_ends_with($key, ':notify'));
    $w->expectSame([], array_values($left), 'keys that are left');
    $w->leftToChance('which queue is looked at when the jobs come due');
};

$predis = stream_resolve_include_path('Predis/autoload.php') === false ? 'needs predis' : null;
foreach (['phpredis' => null, 'predis' => $predis] as $client => $later) {
    row(62, "a Redis Cluster with {$client}: queues in several slots, their keys as Laravel has them", $cluster, drivers: ['cluster'], env: ['REDIS_CLIENT' => $client, 'REDIS_PREFIX' => 'shop_database_'], later: $later, ownServer: true, tiers: false);
}

/** The engine finds the keys of whatever client the app has, and leaves none beside them. */
$keys = static function (World $w): void {
    $client = $w->laravel['redis']->connection('default')->client();
    $prefix = $client instanceof Redis ? $client->_prefix('') : (string) $client->getOptions()->prefix?->getPrefix();
    $redis = $w->sandbox->redis->client();
    $redis->select(1);
    $w->backend = new RedisBackend($w->sandbox->redis, $prefix, 1);
    $uuid = $w->dispatch((new Throws(times: 1))->with(['tries' => 3]));
    $known = $redis->keys('*');
    sort($known);
    $w->expectSame(["{$prefix}queues:default", "{$prefix}queues:default:notify"], $known, 'keys of a job');
    $later = $w->dispatch(new Plain(), delay: 60);
    $w->work();
    $w->expectAttempts([1, 2], $uuid);
    $w->expectSame(1, count($w->journal('end', $uuid)), 'ends');
    $w->expectQueue(delayed: 1);
    $w->makeDue();
    $held = $w->dispatch(new Sleeps(400));
    $daemon = $w->start();
    $w->waitFor('start', uuid: $held);
    $w->expectSame(1, $redis->exists("{$prefix}queues:default:reserved"), 'key of the reserved jobs');
    $w->waitFor('end', uuid: $later);
    $w->waitForQueue();
    $daemon->stop();
    $w->expectGone();
    $w->expectFailed(0);
    $strange = array_filter($redis->keys('*'), static fn (string $key): bool => ! str_starts_with($key, $prefix));
    $w->expectSame([], array_values($strange), 'keys without the prefix');
};
foreach (['phpredis' => null, 'predis' => $predis] as $client => $later) {
    foreach ([
        'for all connections' => ['REDIS_PREFIX' => 'all_'],
        'of the connection' => ['REDIS_PREFIX' => '', 'REDIS_CONNECTION_PREFIX' => 'own_'],
        'of the connection, and another for all' => ['REDIS_PREFIX' => 'all_', 'REDIS_CONNECTION_PREFIX' => 'own_'],
        'in the connection\'s options, and another for all' => ['REDIS_PREFIX' => 'all_', 'REDIS_CONNECTION_OPTIONS_PREFIX' => 'own_'],
        'in every place' => ['REDIS_PREFIX' => 'all_', 'REDIS_CONNECTION_PREFIX' => 'own_', 'REDIS_CONNECTION_OPTIONS_PREFIX' => 'option_'],
        'that is empty' => ['REDIS_PREFIX' => ''],
    ] as $where => $env) {
        row(63, "{$client}, a prefix {$where}", $keys, drivers: ['redis'], env: $env + ['REDIS_CLIENT' => $client], later: $later, ownServer: true, tiers: false);
    }
}

$unsupported = static function (World $w): void {
    $uuid = $w->dispatch(new Plain());
    $w->work();
    $w->expectAttempts([1], $uuid);
    $w->expectFailed(0);
    $w->differs(
        'with these options, which Laravel\'s queue does not support, stock looks for another member than the reserved one and never removes it; kqueue removes what it has reserved',
        stock: fn () => $w->expectQueue(reserved: 1),
        kqueue: fn () => $w->expectGone(),
    );
};
row(63, 'phpredis with a serializer', $unsupported, drivers: ['redis'], back: ['ack' => 'laravel'], env: ['REDIS_SERIALIZER' => Redis::SERIALIZER_PHP]);

row(64, 'MySQL 5.7, two workers', static function (): void {
}, drivers: ['database'], later: 'needs MySQL, and comes with that backend');

row(65, 'a row with 255 attempts: one more is counted, and the queue goes on (SQLite has no TINYINT to overflow)', function (World $w): void {
    $uuid = $w->dispatch((new Plain())->with(['tries' => 300]));
    $failing = $w->dispatch((new Plain())->with(['tries' => 255]));
    $w->backend->setAttempts(255);
    $next = $w->dispatch(new Plain());
    $w->work();
    $w->expectAttempts([256], $uuid);
    $w->expectRuns(0, $failing);
    $w->expectAttempts([1], $next);
    $w->expectGone();
    $w->expectFailed(1, 'has been attempted too many times', $failing);
}, drivers: ['sqlite']);

row(66, 'SQLite, 8 workers, 1,000 jobs that write to the same file: each once, and no lock is heard of', function (World $w): void {
    $uuids = $w->dispatchMany(new Writes(), 1000);
    $w->work(['pool-min-idle' => 8, 'pool-size' => 8, 'pool-max-size' => 8], 90.0);
    $w->expectOnce($uuids);
    $w->expect(count(array_unique(array_column($w->journal('start'), 'pid'))) === 8, 'eight workers');
    $w->expectSame(1000, (int) $w->sandbox->database()->query('select count(*) from cache')->fetchColumn(), 'rows written');
    $w->expectSame([], $w->journal('report'), 'reported exceptions');
    $w->expectGone();
    $w->expectFailed(0);
}, drivers: ['sqlite'], engines: ['kqueue'], env: ['RECORD' => 'false'], tiers: false);

row('own', 'the app has a queue class of its own, with other keys and another table: its jobs run, are released and fail', function (World $w): void {
    if ($w->sandbox->driver === 'database') {
        preg_match('/^CREATE TABLE jobs .*?^\);/ms', TestApp::schema($w->sandbox->service->name), $table);
        $w->sandbox->database()->exec(str_replace(['TABLE jobs', 'jobs_queue_index'], ['TABLE tenant_jobs', 'tenant_jobs_queue_index'], $table[0]));
    }
    $uuid = $w->dispatch(new Plain());
    $high = $w->dispatch(new Plain(), 'high');
    $again = $w->dispatch((new Throws(1))->with(['tries' => 2]));
    $failing = $w->dispatch((new Throws())->with(['tries' => 1]));
    $w->work(['queue' => 'high,default']);
    $w->expectRuns(1, $uuid);
    $w->expectRuns(1, $high);
    $w->expectAttempts([1, 2], $again);
    $w->expectFailed(1, 'thrown on purpose', $failing);
    $w->expectSame(0, $w->size() + $w->size('high'), 'jobs that are left');
}, drivers: ['redis', 'database'], env: ['OWN_QUEUE' => 'prefixed']);

row('own', 'the app has a queue class that takes jobs off in its own way: they run, are released and fail', function (World $w): void {
    $uuid = $w->dispatch(new Plain(), 'shop_default');
    $again = $w->dispatch((new Throws(1))->with(['tries' => 2]), 'shop_default');
    $failing = $w->dispatch((new Throws())->with(['tries' => 1]), 'shop_default');
    $w->work();
    $w->expectRuns(1, $uuid);
    $w->expectAttempts([1, 2], $again);
    $w->expectFailed(1, 'thrown on purpose', $failing);
    $w->expectSame(0, $w->size('shop_default'), 'jobs that are left');
}, drivers: ['redis', 'database'], env: ['OWN_QUEUE' => 'popping']);
