<?php

/** A job finds its process as `queue:work` would have left it, however the process came to be. */

declare(strict_types=1);

use App\Jobs\Describes;
use App\Jobs\Includes;
use App\Jobs\SleepsBesideChild;
use Kqueue\Tests\World;

/** The ways to a process: what kqueue is told, and what is written down as the job's tag. */
const PROCESSES = [
    'inline' => ['default-tier' => 'inline'],
    'pooled' => ['default-tier' => 'pooled'],
    'isolated' => ['default-tier' => 'isolated'],
    'inline, forked before the providers' => ['default-tier' => 'inline', 'fork-safe-peers' => 'nothing'],
    'inline, not forked' => ['default-tier' => 'inline', 'start' => 'spawn'],
];

/** Where a process of kqueue's is meant to differ from one that an operator starts, and why. */
const ON_PURPOSE = [
    '/^environment: KQUEUE_RUN|^SERVER: KQUEUE_RUN/' => 'by it a job\'s orphans are found when the runtime has died; it must be inherited',
    '/^ini: ignore_user_abort/' => 'whoever reads what it prints may go, and the job is to end all the same',
    '/^ini: memory_limit/' => 'an isolated job has a limit of its own',
    '~^ini: opcache\.|^descriptors: .*"(/memfd:opcache_lock|/tmp/\.ZendSem)"$~' => 'forks share compiled code, by opcache, which does nothing else there',
    '/^leads its group/' => 'as under any process manager: a shell without job control gives its children no group',
    '~^descriptors: .*("its output|/fork-\d+\.out|/lane-\d+\.tickets)"$~' => 'its output, opened again or not, and the pipe by which a lane claims jobs',
    '/^environment: (SHLVL|OLDPWD|PWD|_) |^SERVER: (SHLVL|OLDPWD|PWD|_) /' => 'of the shell that the other one is started by',
];

row('fresh', 'a job finds the same process in each tier as under queue:work', function (World $w): void {
    $run = static function (string $tag, Closure $start) use ($w): array {
        $uuid = $w->dispatch((new Describes())->with(['tag' => $tag]));
        $daemon = $start();
        $w->waitFor('end', uuid: $uuid);
        $daemon->stop();

        return array_column($w->journal('process'), null, 'tag')[$tag];
    };
    $facts = static function (array $facts): array {
        unset($facts['what'], $facts['tag'], $facts['pid'], $facts['t']);
        // When it was.
        unset($facts['SERVER']['REQUEST_TIME'], $facts['SERVER']['REQUEST_TIME_FLOAT'], $facts['constants']['LARAVEL_START']);
        // 32 and 33 are the C library's own, which its posix_spawn() leaves ignored.
        $facts['status']['SigIgn'] = sprintf('%016x', hexdec($facts['status']['SigIgn']) & ~(3 << 31));
        $all = [];
        foreach ($facts as $name => $value) {
            $values = is_array($value) ? $value : [$value];
            // What is open has no order.
            foreach ($values as $key => $inner) {
                $key = $name === 'descriptors' ? 'descriptor' : $key;
                $all[] = (is_array($value) ? "{$name}: {$key} " : "{$name} ") . json_encode($inner, JSON_UNESCAPED_SLASHES);
            }
        }

        return array_filter($all, static function (string $fact): bool {
            foreach (array_keys(ON_PURPOSE) as $pattern) {
                if (preg_match($pattern, $fact)) {
                    return false;
                }
            }

            return true;
        });
    };
    $stock = $facts($run('stock', fn () => $w->startByHand(
        $w->sandbox->driver, '--name=kqueue', '--queue=default', '--sleep=0', '--tries=1', '--timeout=60', '--backoff=0', '--memory=128', '--force',
    )));
    $differences = [];
    foreach (PROCESSES as $tag => $options) {
        $there = $facts($run($tag, fn () => $w->start($options + ['fork-safe-peers' => '127.0.0.1:8125'])));
        foreach (array_diff($there, $stock) as $fact) {
            $differences[] = "{$tag} has {$fact}";
        }
        foreach (array_diff($stock, $there) as $fact) {
            $differences[] = "{$tag} has not {$fact}";
        }
    }
    $w->expectSame('', implode("\n", $differences), 'differences');
}, drivers: ['redis'], engines: ['kqueue'], env: ['OPENS' => 'datagram']);

row('fresh', 'what a job waits for is not cut short by the end of a child', function (World $w): void {
    $daemon = $w->start();
    $w->waitFor('end', uuid: $w->dispatch(new SleepsBesideChild()));
    $w->expectSame(0, $daemon->stop(), 'exit status');
    $slept = $w->journal('slept')[0];
    $w->expectSame([true, 1, "ready\n"], [$slept['whole'], $slept['selected'], $slept['line']], 'a whole second slept, streams selected, the line');
    $w->expectFailed(0);
}, drivers: ['redis']);

row('fresh', 'a file that has changed is included as it is by then, whatever process has included it before', function (World $w): void {
    $daemon = $w->start();
    $say = static fn (string $word): string => "<?php App\\Journal::write('included', ['word' => '{$word}']);";
    $words = [];
    foreach (['inline', 'isolated'] as $tier) {
        $file = "{$w->sandbox->dir}/{$tier}.php";
        $include = static function (string $word) use ($w, $file, $tier, &$words): void {
            $w->waitFor('end', uuid: $w->dispatch(new Includes($file, $tier)));
            $words[] = $word;
            $w->expectSame($words, array_column($w->journal('included'), 'word'), 'what has been included');
        };
        // Of one length, and old enough to be kept by whoever keeps what he has compiled.
        foreach (['one', 'two', 'six'] as $age => $word) {
            file_put_contents($file, $say($word));
            touch($file, time() - 100 + $age);
            $include($word);
        }
        // At once, and another behind the same name.
        file_put_contents($file, $say('ten'));
        $include('ten');
        file_put_contents("{$file}.next", $say('now'));
        touch("{$file}.next", time() - 50);
        unlink($file);
        symlink("{$file}.next", $file);
        $include('now');
    }
    $w->expectSame(0, $daemon->stop(), 'exit status');
}, drivers: ['redis'], engines: ['kqueue'], tiers: false);
