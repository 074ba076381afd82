<?php

/** What an app opens, draws and sets up while it boots, of which forks have copies. */

declare(strict_types=1);

use App\Jobs\Draws;
use App\Jobs\OpensWhenAsked;
use App\Jobs\Plain;
use App\Jobs\SetUp;
use App\Jobs\UsesOwn;
use Kqueue\Tests\Daemon;
use Kqueue\Tests\Wait;
use Kqueue\Tests\World;

const SHARED = 'while booting, the app opens resources that processes must not share: ';
const FORKED = 'processes forked from a template';

/** Runs jobs that use what the app has opened; none is to have another one's answer. */
$use = static function (World $w, string $name = 'redis'): Daemon {
    $w->dispatchMany(new UsesOwn($name), 12);
    $daemon = $w->start();
    $w->waitFor('end', 12, 60.0);
    $w->expectSame(0, $daemon->stop(), 'exit status');
    $w->expectSame([0], array_values(array_unique(array_column($w->journal('used'), 'wrong'))), 'wrong answers');

    return $daemon;
};

/** The line that says what processes must not share; there is one at the most. */
$told = static function (World $w, Daemon $daemon): ?string {
    $lines = preg_grep('/' . preg_quote(SHARED, '/') . '/', explode("\n", $daemon->output()));
    $w->expect(count($lines) < 2, 'it is said once');

    return array_values($lines)[0] ?? null;
};

/** By what is opened: what is said of it, and how processes are made. */
$ways = [
    'redis' => ['127.0.0.1:%d (opened while App\Providers\OpensServiceProvider booted); each fork boots', 'a template before the app\'s providers boot'],
    'register:redis' => ['127.0.0.1:%d (opened while the service providers were registered', 'a template before the app\'s providers boot'],
    'persistent' => ['127.0.0.1:%d (opened while App\Providers\OpensServiceProvider booted); each fork boots', 'a template before the app\'s providers boot'],
];
foreach ($ways as $opened => [$line, $how]) {
    row('at-boot', "a connection that a provider opens ({$opened}) is no other process's", function (World $w) use ($use, $told, $opened, $line, $how): void {
        $daemon = $use($w, explode(':', "x:{$opened}")[substr_count($opened, ':') + 1]);
        if ($w->engine->isKqueue()) {
            $w->expectContains(sprintf($line, $w->sandbox->redis->port), (string) $told($w, $daemon), 'what is said');
            $w->expectContains($how, $daemon->output(), 'how processes are made');
        }
    }, drivers: ['redis'], engines: $opened === 'redis' ? ['stock', 'kqueue'] : ['kqueue'], env: ['OPENS' => $opened]);
}

row('at-boot', 'a connection opened before any provider: processes are started one by one', function (World $w) use ($use): void {
    $file = $w->sandbox->app . '/bootstrap/app.php';
    $open = '$GLOBALS["own.redis"] = new Redis(); $GLOBALS["own.redis"]->connect("127.0.0.1", ' . $w->sandbox->redis->port . ");\nreturn \$app;";
    file_put_contents($file, str_replace('return $app;', $open, (string) file_get_contents($file)));
    $daemon = $use($w);
    if ($w->engine->isKqueue()) {
        $w->expectContains('(opened before the service providers were registered (config/ or bootstrap/app.php)); processes are started one by one', $daemon->output(), 'what is said');
    }
}, drivers: ['redis'], tiers: false);

row('at-boot', 'what Laravel\'s own managers opened is closed and opens again, and forks are made of the whole app', function (World $w) use ($use, $told): void {
    $daemon = $use($w, 'managed');
    $w->expectFailed(0);
    $w->expectSame(null, $told($w, $daemon), 'what is said');
    $w->expectContains(FORKED . "\n", $daemon->output(), 'how processes are made');
}, drivers: ['redis'], engines: ['kqueue'], env: ['OPENS' => 'managed,log']);

row('at-boot', 'whatever else must not be shared is found: pairs, pipes, files that are read, locks', function (World $w) use ($told): void {
    $names = ['socket', 'pipe', '/artisan', '/storage/logs/lock', '/database.sqlite', '127.0.0.1:8125', 'anon_inode:[eventpoll]'];
    $w->dispatch(new Plain());
    $daemon = $w->start(['stop-when-empty' => true]);
    $w->expectSame(0, $daemon->wait(), 'exit status');
    foreach ($names as $name) {
        $w->expectContains("{$name} (opened while App\\Providers\\OpensServiceProvider booted)", (string) $told($w, $daemon), 'what is said');
    }
    $w->dispatch(new Plain());
    $daemon = $w->start(['stop-when-empty' => true, 'fork-safe-peers' => 'socket,pipe,*/artisan,*lock,*sqlite,127.0.0.1:81*,anon_inode:*']);
    $w->expectSame(0, $daemon->wait(), 'exit status');
    $w->expectSame(null, $told($w, $daemon), 'what is said of what the settings name');
}, drivers: ['redis'], engines: ['kqueue'], tiers: false, env: ['OPENS' => 'pair,children,file,lock,pdo,datagram,epoll']);

row('at-boot', 'forks draw different random numbers, whatever was seeded before', function (World $w): void {
    foreach (['', 'random'] as $opened) {
        $w->sandbox->setEnv(['OPENS' => $opened]);
        $before = count($w->journal('drawn'));
        $w->dispatchMany(new Draws(), 4);
        $daemon = $w->start(['default-tier' => 'isolated']);
        $w->waitFor('end', $before + 4);
        $w->expectSame(0, $daemon->stop(), 'exit status');
        $drawn = array_column(array_slice($w->journal('drawn'), $before), 'numbers');
        foreach (array_keys($drawn[0]) as $way) {
            $w->expectSame(4, count(array_unique(array_column($drawn, $way))), "different numbers by {$way}");
        }
    }
}, drivers: ['redis'], engines: ['kqueue'], tiers: false);

row('at-boot', 'what a package has collected while the app booted is stored once', function (World $w): void {
    $w->dispatchMany(new Plain(), 3);
    $daemon = $w->start(['default-tier' => 'isolated']);
    $w->waitFor('end', 3);
    $w->expectSame(0, $daemon->stop(), 'exit status');
    $stored = array_filter($w->journal('stored'), static fn (array $fact): bool => $fact['event'] === 'booted');
    $by = array_column($stored, 'by');
    $w->expect($by !== [], 'it is stored');
    $w->expectSame(count(array_unique($by)), count($by), 'entries of what was collected, and those that collected them');
}, drivers: ['redis'], engines: ['kqueue'], tiers: false, env: ['WATCHED' => true]);

row('at-boot', 'a deploy after which the app opens a connection, one after which it does so at once, and one after which it does not', function (World $w) use ($told): void {
    $file = $w->sandbox->app . '/bootstrap/app.php';
    $usual = (string) file_get_contents($file);
    $open = '$GLOBALS["own.redis"] = new Redis(); $GLOBALS["own.redis"]->connect("127.0.0.1", ' . $w->sandbox->redis->port . ");\nreturn \$app;";
    $daemon = $w->start(['default-tier' => 'inline']);
    $w->waitFor('end', uuid: $w->dispatch(new Plain()));
    $forks = static fn (): bool => array_filter($daemon->php(), static fn (int $pid): bool => str_contains((string) @file_get_contents("/proc/{$pid}/cmdline"), "\0template")) !== [];
    $w->expect($forks(), 'there is a template');
    foreach ([['redis', $usual, true], ['', str_replace('return $app;', $open, $usual), false], ['', $usual, true]] as $i => [$opened, $code, $forked]) {
        $w->sandbox->setEnv(['OPENS' => $opened]);
        file_put_contents($file, $code);
        $daemon->signal(SIGHUP);
        Wait::until(static fn (): bool => substr_count($daemon->output(), 'SIGHUP: ') > $i, 'the reload');
        $done = count($w->journal('end'));
        $code === $usual && $opened === '' ? $w->dispatchMany(new Plain(), 8) : $w->dispatchMany(new UsesOwn(), 8);
        $w->waitFor('end', $done + 8, 30.0);
        Wait::until(static fn (): bool => $forks() === $forked, $forked ? 'a template' : 'no process to be forked any more');
    }
    $w->expectSame(0, $daemon->stop(), 'exit status');
    $w->expectSame([0], array_values(array_unique(array_column($w->journal('used'), 'wrong'))), 'wrong answers');
    $w->expectFailed(0);
}, drivers: ['redis'], engines: ['kqueue'], tiers: false);

row('at-boot', 'a class that opens a connection when it is asked for its hints', function (World $w) use ($told): void {
    $daemon = $w->start(['default-tier' => 'isolated']);
    $w->waitFor('end', uuid: $w->dispatch(new OpensWhenAsked()));
    $w->dispatchMany(new OpensWhenAsked(), 8);
    $w->waitFor('end', 9);
    $w->expectSame(0, $daemon->stop(), 'exit status');
    $w->expectSame([0], array_values(array_unique(array_column($w->journal('used'), 'wrong'))), 'wrong answers');
    $w->expectFailed(0);
}, drivers: ['redis'], engines: ['kqueue'], tiers: false);

/** Puts lines into the app's `artisan`, before it boots anything. */
$setUp = static function (World $w, string $more): void {
    $file = $w->sandbox->app . '/artisan';
    file_put_contents($file, str_replace("define('LARAVEL_START', microtime(true));", "define('LARAVEL_START', microtime(true));\n{$more}", (string) file_get_contents($file)));
};

row('at-boot', 'what the app\'s artisan sets up is there in its jobs', function (World $w) use ($setUp): void {
    $setUp($w, <<<'PHP'
        umask(0002);
        define('APP_ROLE', basename(__DIR__) . ' ' . basename(__FILE__));
        ini_set('precision', '5');
        putenv('OF_ARTISAN=put');
        $ofArtisan = ' and kept';
        if (PHP_SAPI !== 'cli') {
            exit(1);
        }
        PHP);
    $daemon = $w->start();
    $w->waitFor('end', uuid: $w->dispatch(new SetUp()));
    $w->expectSame(0, $daemon->stop(), 'exit status');
    $found = array_intersect_key($w->journal('set up')[0], array_flip(['umask', 'role', 'precision', 'variable']));
    $w->expectSame(['umask' => '0002', 'role' => 'app artisan', 'precision' => '5', 'variable' => 'put and kept'], $found, 'what is set up');
}, drivers: ['redis']);

row('at-boot', 'an artisan that cannot be followed is named, and the settings have a umask', function (World $w): void {
    $file = $w->sandbox->app . '/artisan';
    rename($file, $w->sandbox->app . '/console.php');
    file_put_contents($file, "#!/usr/bin/env php\n<?php\numask(0027);\nrequire __DIR__ . '/console.php';\n");
    foreach (['inline', 'pooled', 'isolated'] as $tier) {
        $daemon = $w->start(['default-tier' => $tier, 'umask' => '0007']);
        $w->waitFor('end', uuid: $w->dispatch(new SetUp()));
        $w->expectSame(0, $daemon->stop(), 'exit status');
        $w->expectContains('artisan (umask, constants, ini settings) is not applied: it does not handle the command', $daemon->output(), 'what is said');
    }
    $w->expectSame(['0007', '0007', '0007'], array_column($w->journal('set up'), 'umask'), 'umask of each tier');
}, drivers: ['redis'], engines: ['kqueue'], tiers: false);
