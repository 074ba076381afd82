<?php

/** An app that somebody has taken over, and a user who has nothing to do with kqueue, against the coordinator. */

declare(strict_types=1);

use App\Jobs\Heavy;
use App\Jobs\Includes;
use App\Jobs\Pooled;
use Kqueue\Tests\Machine\Machine;

/** Bytes by which no flood may make the coordinator grow. */
const GROWTH = 32 << 20;
/** So many times as long as without a flood an answer may take with one: without bounds it is ten thousand. */
const SLOWER = 500;

$attack = static fn (string $name): string => dirname(__DIR__) . "/attacks/{$name}.php";

/** Another app on the machine, of another user. It has no code: it is about its unit. */
$blog = static function (Machine $m): void {
    file_put_contents('/etc/kqueue/blog.toml', "path = \"/srv/blog\"\nuser = \"blog\"\n");
};

/** Has a program run in place of an app's runtime, as the main process of its unit. */
$instead = static function (Machine $m, string $app, string $type, string $command): void {
    $m->dropIn("kqueue@{$app}.service", "[Service]\nType={$type}\nRestart=no\nWatchdogSec=0\nTimeoutStartSec=60\nKillMode=control-group\nTimeoutStopSec=1\n"
        . "StandardOutput=truncate:/run/kqueue-test-{$app}\nExecStart=\nExecStart=" . PHP_BINARY . " {$command}\n");
};

/** @return array{median: float, slowest: float, lost: int} what the other app gets */
$neighbour = static function (Machine $m, int $count = 20) use ($instead, $attack): array {
    is_file('/run/systemd/system/kqueue@blog.service.d/90-test.conf') || $instead($m, 'blog', 'oneshot', $attack('neighbour') . " {$count}");
    $m->must('systemctl restart kqueue@blog.service');

    return json_decode((string) file_get_contents('/run/kqueue-test-blog'), true, 8, JSON_THROW_ON_ERROR);
};

/** A coordinator that has seen nothing yet. */
$fresh = static function (Machine $m): void {
    $m->must('systemctl restart kqueue.service');
};

/** What it gets while others use up the processors, and nothing of the coordinator. */
$quiet = static function (Machine $m, int $others) use ($attack, $neighbour, $fresh): array {
    $spinning = array_map(static fn (int $n): array => $m->background(PHP_BINARY . " {$attack('knock')} spin /home/stranger/spinning-{$n}", 'stranger'), range(1, $others));
    $fresh($m);
    $got = $neighbour($m);
    foreach ($spinning as $one) {
        $m->must("systemctl kill -s KILL {$one['unit']}.service");
    }
    $m->expectSame(0, $got['lost'], 'answers that did not come without a flood');

    return $got;
};

row('attack-verbs', 'a job in a lane gets nothing from the coordinator by any verb, and the attempt affects neither coordinator nor runtime', function (Machine $m) use ($attack): void {
    $m->start();
    $m->must('systemctl start kqueue.service');
    [$runtime, $coordinator] = [$m->runtime()->pid(), $m->coordinator()->pid()];
    $since = $m->cursor();
    $file = '/srv/shop/storage/attack.php';
    $out = '/srv/shop/storage/attack.json';
    @unlink($out);
    file_put_contents($file, "<?php \$out = '{$out}'; require '{$attack('verbs')}';");
    $before = $m->unitsLike('kqueue-shop-*.scope');
    $uuid = $m->dispatch(new Includes($file, 'inline'));
    $m->waitForEffects('end');
    $m->expectSame('kqueue@shop.service', $m->unitOf($m->runtime()->pid()), 'where the runtime is');
    $answers = json_decode((string) file_get_contents($out), true, 32, JSON_THROW_ON_ERROR);
    $m->expect(count($answers) > 50, 'everything was asked');
    foreach ($answers as [$verb, $arguments, $answer]) {
        $m->expectSame(null, $answer, "the answer to {$verb} " . json_encode($arguments));
    }
    $m->waitForRecord('not the main process of kqueue@shop.service', 'kqueue.service', $since);
    $m->expectSame([$runtime, $coordinator], [$m->runtime()->pid(), $m->coordinator()->pid()], 'both processes');
    $m->expectSame($before, $m->unitsLike('kqueue-shop-*.scope'), 'scopes');
    $m->expectOnce([$uuid]);
    // The runtime is heard as before.
    $next = $m->dispatch(new Heavy(1));
    $m->waitForEffects('end', 2);
    $m->expectOnce([$next]);
});

row('attack-floods', 'whatever an app floods the coordinator with, another app is answered nearly as fast, and memory is bounded', function (Machine $m) use ($attack, $blog, $instead, $neighbour, $fresh, $quiet): void {
    $blog($m);
    // Workers that end at once: they are about the coordinator.
    $m->dropIn('kqueue-worker@.service', "[Service]\nType=exec\nExecStart=\nExecStart=/bin/false\n");
    $flag = '/srv/shop/storage/flooding';
    $quiet = $quiet($m, 1);
    foreach (['list', 'noread', 'watch', 'tell', 'start', 'purpose'] as $mode) {
        $fresh($m);
        $before = $m->coordinator()->memory('VmRSS');
        @unlink($flag);
        $instead($m, 'shop', 'exec', $attack('flood') . " {$mode} {$flag}");
        $m->start();
        $m->waitFor(static fn (): bool => file_exists($flag), "a flood of {$mode}", 10);
        $got = $neighbour($m);
        $m->expect($m->runtime()->isActive(), "the flood of {$mode} is still under way");
        $said = "with a flood of {$mode}: " . json_encode($got) . ', without: ' . json_encode($quiet);
        $m->expectSame(0, $got['lost'], "answers that did not come {$said}");
        $m->expect($got['median'] <= SLOWER * $quiet['median'], "another app is answered in time {$said}");
        $grown = $m->coordinator()->memory('VmHWM') - $before;
        $m->expect($grown <= GROWTH, "a flood of {$mode} takes no more than " . (GROWTH >> 20) . ' MB (it took ' . ($grown >> 20) . ')');
        $m->must('systemctl kill -s KILL kqueue@shop.service; systemctl stop kqueue@shop.service');
    }
}, seconds: 120);

row('attack-knocks', 'other users and jobs that connect to the coordinator without end cost another app no connection', function (Machine $m) use ($attack, $blog, $neighbour, $fresh, $quiet): void {
    $blog($m);
    $quiet = $quiet($m, 3);
    $m->sh('systemctl --user -M laptop@ kill -s KILL kqueue@shop.service; systemctl --user -M laptop@ stop kqueue@shop.service');
    foreach (['drop', 'hold'] as $mode) {
        $fresh($m);
        $before = $m->coordinator()->memory('VmRSS');
        $flags = ["/home/stranger/flooding-{$mode}", "/home/laptop/flooding-{$mode}"];
        $flood = $m->background(PHP_BINARY . ' ' . $attack('knock') . " {$mode} {$flags[0]}", 'stranger');
        // A part of whose control group bears the name of a runtime.
        $m->must('systemd-run --user -M laptop@ --quiet --collect --unit=kqueue@shop.service ' . PHP_BINARY . ' ' . $attack('knock') . " {$mode} {$flags[1]}");
        // Of the app's own unit, and yet not its runtime.
        $flags[] = $flag = "/srv/shop/storage/flooding-{$mode}";
        @unlink($flag);
        file_put_contents('/srv/shop/storage/attack.php', "<?php \$mode = '{$mode}'; \$file = '{$flag}'; require '{$attack('knock')}';");
        $m->start();
        $m->dispatch(new Includes('/srv/shop/storage/attack.php', 'inline'));
        foreach ($flags as $flag) {
            $m->waitFor(static fn (): bool => file_exists($flag), "a flood: {$flag}", 20);
        }
        $got = $neighbour($m);
        $said = "with strangers that {$mode}: " . json_encode($got) . ', without: ' . json_encode($quiet);
        $m->expectSame(0, $got['lost'], "answers that did not come {$said}");
        $m->expect($got['median'] <= SLOWER * $quiet['median'], "another app is answered in time {$said}");
        $grown = $m->coordinator()->memory('VmHWM') - $before;
        $m->expect($grown <= GROWTH, 'memory is bounded (it grew by ' . ($grown >> 20) . ' MB)');
        $m->must("systemctl kill -s KILL {$flood['unit']}.service; systemctl --user -M laptop@ kill -s KILL kqueue@shop.service");
        $m->must('systemctl kill -s KILL kqueue@shop.service; systemctl stop kqueue@shop.service');
    }
}, seconds: 120);

row('attack-scopes', 'the number of an app\'s scopes is bounded, and making them does not slow another app down', function (Machine $m) use ($attack, $blog, $instead, $neighbour, $fresh, $quiet): void {
    $blog($m);
    $quiet = $quiet($m, 1);
    $fresh($m);
    $before = $m->coordinator()->memory('VmRSS');
    $file = '/srv/shop/storage/scopes.json';
    @unlink($file);
    $instead($m, 'shop', 'exec', $attack('scopes') . " {$file}");
    $m->start();
    $m->waitFor(static fn (): bool => file_exists($file), 'the last scope');
    $result = json_decode((string) file_get_contents($file), true, 8, JSON_THROW_ON_ERROR);
    $m->expectSame(128, $result['made'], 'scopes that it got');
    $m->expectSame('refused', $result['answer']['error'][0] ?? null, 'the answer after that');
    $got = $neighbour($m);
    $m->expect($got['lost'] === 0 && $got['median'] <= SLOWER * $quiet['median'], 'another app is answered in time: ' . json_encode([$got, $quiet]));
    $m->expect($m->coordinator()->memory('VmHWM') - $before <= GROWTH, 'memory is bounded');
    // With its runtime all of it ends.
    $m->must('systemctl stop kqueue@shop.socket kqueue-control@shop.socket kqueue@shop.service');
    $m->waitFor(static fn (): bool => $m->unitsLike('kqueue-shop-*.scope') === [], 'every scope to end', 15, Machine::DEAR);
});

row('attack-persist', 'what a job leaves behind in its scope ends with the app, whether the coordinator sees the stop or not; a restart ends nothing', function (Machine $m): void {
    $file = '/srv/shop/storage/attack.php';
    $out = '/srv/shop/storage/daemon';
    file_put_contents($file, '<?php shell_exec("setsid -f sleep 555 >/dev/null 2>&1"); file_put_contents("' . $out . '", trim(shell_exec("pgrep -n -u shop -x sleep")));');
    $stop = 'systemctl stop kqueue@shop.socket kqueue-control@shop.socket kqueue@shop.service';
    $left = static function () use ($m, $file, $out): int {
        @unlink($out);
        $m->must('systemctl start kqueue@shop.socket kqueue-control@shop.socket kqueue@shop.service');
        $uuid = $m->dispatch(new Includes($file, 'isolated'));
        $m->waitForEffects('end', uuid: $uuid);
        $daemon = (int) file_get_contents($out);
        $m->expect(str_starts_with($m->unitOf($daemon), 'kqueue-shop-'), "the daemon is in a scope of the app (it is in '{$m->unitOf($daemon)}')");

        return $daemon;
    };
    $gone = static function (int $daemon, string $when) use ($m): void {
        $m->waitFor(static fn (): bool => $m->unitOf($daemon) === '', "the daemon to end {$when}", 15, Machine::DEAR);
        $m->waitFor(static fn (): bool => $m->unitsLike('kqueue-shop-*.scope', 'kqueue-worker@shop:*.service') === [], "every unit to end {$when}", 15, Machine::DEAR);
    };

    $daemon = $left();
    // Jobs run on over a restart.
    $uuids = $m->dispatchAll([new Heavy(1200), new Pooled(1200)]);
    foreach ($uuids as $uuid) {
        $m->waitForEffects('start', uuid: $uuid);
    }
    $m->must('systemctl restart kqueue@shop.service');
    $m->expect($m->unitOf($daemon) !== '', 'the daemon lives after a restart');
    foreach ($uuids as $uuid) {
        $m->waitForEffects('end', uuid: $uuid);
    }
    $m->expectOnce($uuids);
    $m->must($stop);
    $gone($daemon, 'with the app');

    $daemon = $left();
    $m->must("systemctl stop kqueue.socket kqueue.service; systemctl kill -s KILL --kill-who=main kqueue@shop.service; {$stop}");
    $m->expect($m->unitOf($daemon) !== '', 'the daemon lives while there is nobody to end it');
    $m->must('systemctl start kqueue.socket kqueue.service');
    $gone($daemon, 'when the coordinator is back');

    // A runtime whose settings are wrong has failed; its stop counts nevertheless.
    $daemon = $left();
    $m->dropIn('kqueue@shop.service', "[Service]\nExecStart=\nExecStart=/bin/sh -c 'exit 78'\n");
    $m->sh('systemctl restart kqueue@shop.service');
    $m->runtime()->waitFor('ActiveState', 'failed');
    $m->expect($m->unitOf($daemon) !== '', 'the daemon lives while its runtime has failed');
    $m->must($stop);
    $gone($daemon, 'with the app that had failed');
});
