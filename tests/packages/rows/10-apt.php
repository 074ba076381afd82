<?php

/** The first minutes with APT, upgrade and downgrade under load, and the way back. */

declare(strict_types=1);

use App\Jobs\Heavy;
use App\Jobs\Plain;
use App\Jobs\Pooled;
use App\Jobs\Quick;
use Kqueue\Tests\Machine\Packaged;

/** One job in each tier runs to its end. */
$works = static function (Packaged $m): void {
    $uuids = $m->dispatchAll([new Quick(1), new Pooled(1), new Heavy(1)]);
    foreach ($uuids as $uuid) {
        $m->waitForEffects('end', 1, $uuid);
    }
    $m->expectOnce($uuids);
};

/** Every job runs in the version that is installed, soon after the last of those that ran has ended. */
$renewed = static function (Packaged $m, array $uuids) use ($works): void {
    $m->waitFor(fn (): bool => $m->runtimeIsCurrent() && $m->runtime()->isActive(), 'the runtime to be the installed version', 30, Packaged::DEAR);
    $m->expect($m->isCurrent($m->coordinator()->pid(), '/usr/lib/kqueue/kqueue-coordinator'), 'the coordinator is the installed version');
    $m->expectOnce($uuids);
    $works($m);
};

row('first-day', 'apt install, kqueue init, systemctl enable --now, a job: done, and in journalctl -u kqueue', function (Packaged $m) use ($works): void {
    $m->apt('update');
    $said = $m->apt('install kqueue=' . Packaged::OLD);
    $m->expect(! preg_match('/warning|error|failed|cannot/i', $said), "nothing to complain of: {$said}");
    $m->expectSame(Packaged::OLD, trim($m->must('kqueue --version | cut -d" " -f2')), 'the version');
    $m->expectSame('', trim($m->sh('dpkg --verify kqueue')->text()), 'dpkg --verify');
    $m->expect($m->unit('kqueue.socket')->isActive(), 'the coordinator can be asked');
    $m->expectSame('enabled', trim($m->must('systemctl is-enabled kqueue.socket')), 'also after a boot');
    $m->expectSame('inactive', $m->coordinator()->state(), 'but nothing runs');
    $m->expectSame('disabled', trim($m->sh('systemctl is-enabled kqueue-web.socket')->text()), 'the dashboard is for the operator to enable');
    $m->expect(posix_getpwnam('kqueue') !== false && posix_getgrnam('kqueue') !== false, 'the user and the group are there');
    foreach (['1 kqueue', '1 kqueue-run', '1 kqueue-config-check', '5 kqueue.toml', '8 kqueue@.service', '8 kqueue-worker@.service', '8 kqueue-coordinator', '8 kqueue-generator', '8 kqueue-web', '8 kqueue-web.socket'] as $page) {
        $m->expect(strlen($m->must("man --warnings {$page} 2>&1 | cat")) > 500, "man {$page}");
    }
    $m->must('bash -c ". /usr/share/bash-completion/completions/kqueue && complete -p kqueue"');
    $m->expect(str_contains($m->must('journalctl --list-catalog'), 'a81d2a8e00f144d6aae3252c7c19310d'), 'the catalog explains failures');

    $m->init();
    $since = $m->cursor();
    $m->must('systemctl enable --now kqueue@shop');
    $works($m);
    $m->waitForRecord('kqueue-shop-', 'kqueue.service', $since);
    $m->must('systemctl enable --now kqueue-web.socket');
    $health = $m->must('php -r \'$c = curl_init("http://localhost/healthz/shop"); curl_setopt($c, CURLOPT_UNIX_SOCKET_PATH, "/run/kqueue/web.sock"); curl_exec($c);\'');
    $m->expect(str_contains($health, '"status":"running"'), "what the dashboard says of the app: {$health}");
    $m->expectSame('shop', posix_getpwuid((int) fileowner('/proc/' . $m->runtime()->pid()))['name'], 'who runs the app');
    $m->expectSame('', trim($m->must('systemctl --failed --no-legend --plain')), 'failed units');
}, seconds: 150);

foreach (['upgrade' => [Packaged::OLD, Packaged::NEW], 'downgrade' => [Packaged::NEW, Packaged::OLD]] as $way => [$from, $to]) {
    row($way, "{$way} while a job runs in each tier: no job is affected, and the app restarts into the version when it is idle", function (Packaged $m) use ($from, $to, $renewed): void {
        $m->install($from);
        $m->init();
        $m->must('systemctl enable --now kqueue@shop');
        $uuids = $m->hold('inline', 'pooled', 'isolated');
        [$runtime, $coordinator] = [$m->runtime()->pid(), $m->coordinator()->pid()];
        $m->install($to);
        $m->expectSame($to, trim($m->must('dpkg-query -f \'${Version}\' -W kqueue')), 'the version');
        $m->expectSame($runtime, $m->runtime()->pid(), 'the runtime that works');
        $m->expect(! $m->runtimeIsCurrent(), 'it is the version of before');
        $m->expect($coordinator !== $m->coordinator()->pid(), 'the coordinator is another');
        // It goes on to work, with the files of the other version.
        array_push($uuids, ...($more = $m->dispatchAll([new Quick(1), new Pooled(1), new Heavy(1)])));
        foreach ($more as $uuid) {
            $m->waitForEffects('end', 1, $uuid);
        }
        $m->expectSame($runtime, $m->runtime()->pid(), 'the runtime that works');
        $m->expectSame(3, count($m->effects('end')), 'jobs that have ended, none of those that were held');
        $m->open();
        $renewed($m, $uuids);
    }, seconds: 150);
}

row('upgrade-asked', 'after an upgrade, systemctl restart brings the new version under load', function (Packaged $m) use ($renewed): void {
    $m->install();
    $m->init();
    $m->must('systemctl enable --now kqueue@shop');
    $uuids = $m->hold('pooled', 'isolated');
    $m->install(Packaged::NEW);
    $m->must('systemctl restart kqueue@shop');
    $m->expect($m->runtimeIsCurrent(), 'the runtime is the new version');
    $m->expectSame([], $m->effects('end'), 'jobs that have ended');
    $m->open();
    $renewed($m, $uuids);
}, seconds: 150);

row('upgrade-storm', 'up and down and up again while 300 jobs come in all tiers: every effect exactly once', function (Packaged $m) use ($renewed): void {
    $m->install();
    $m->init();
    $m->must('systemctl enable --now kqueue@shop');
    $uuids = [];
    foreach ([Packaged::NEW, Packaged::OLD, Packaged::NEW] as $version) {
        $jobs = [];
        for ($i = 0; $i < 100; $i++) {
            $jobs[] = $i % 10 === 0 ? new Heavy(100) : ($i % 5 === 1 ? new Pooled(150) : new Quick(2));
        }
        array_push($uuids, ...$m->dispatchAll($jobs));
        $m->install($version);
    }
    $m->waitForEffects('end', 300, seconds: 120);
    $renewed($m, $uuids);
    $m->expectSame('', trim($m->must('systemctl --failed --no-legend --plain')), 'failed units');
}, seconds: 240);

row('protocol', 'a runtime whose PHP files use another protocol ends at once to be restarted, and its jobs run on', function (Packaged $m) use ($works): void {
    $m->install();
    $m->init();
    $m->must('systemctl enable --now kqueue@shop');
    $uuids = $m->hold('pooled', 'isolated');
    $runtime = $m->runtime()->pid();
    $since = $m->cursor();
    // As a package of that kind would do it.
    $m->must('cp -p /usr/bin/kqueue /usr/bin/.kqueue && mv /usr/bin/.kqueue /usr/bin/kqueue && cp -r /usr/share/kqueue/php /run/kqueue-test-php');
    $m->must('sed -i "s/\'version\' => 1,/\'version\' => 2,/" /usr/share/kqueue/php/worker/Process.php');
    $m->must('systemctl kill --kill-whom=main -s HUP kqueue@shop');
    $m->waitForRecord('another protocol', 'kqueue@shop.service', $since);
    $m->must('cp -r /run/kqueue-test-php/. /usr/share/kqueue/php/');
    $m->runtime()->waitForNewPid($runtime, 90);
    $m->expectSame([], $m->effects('end'), 'jobs that have ended');
    $m->open();
    $m->waitForEffects('end', 2);
    $m->expectOnce($uuids);
    $works($m);
}, seconds: 150);

row('reinstall', 'apt install --reinstall, and remove and install: an edited config stays, and the app works again', function (Packaged $m) use ($works): void {
    $m->install();
    $m->init("tries = 7\n");
    $m->must('systemctl enable --now kqueue@shop');
    $m->apt('install --reinstall kqueue=' . Packaged::OLD);
    $works($m);
    $m->apt('remove kqueue');
    $m->install(Packaged::NEW);
    $m->runtime()->waitFor('ActiveState', 'active');
    $m->expect(str_contains((string) file_get_contents('/etc/kqueue/shop.toml'), 'tries = 7'), 'the config is as it was edited');
    $m->expect(str_contains($m->must('kqueue config check shop --json', 'shop'), '7'), 'and read');
    $works($m);
}, seconds: 150);

row('remove', 'apt remove drains: what runs finishes, what waits goes back, settings and state stay', function (Packaged $m): void {
    $m->install();
    $m->init("max_concurrent_isolated = 1\n");
    $m->must('systemctl enable --now kqueue@shop');
    $running = $m->hold('inline', 'pooled', 'isolated');
    $waiting = $m->dispatchAll([new Heavy(1), new Heavy(1)]);
    $m->waitFor(fn (): bool => $m->shop->backend->state()->counts()['ready'] === 0, 'the runtime to hold them all', 10);
    $remove = $m->background('apt-get -y -q remove kqueue', 'root');
    $m->runtime()->waitFor('ActiveState', 'deactivating');
    $m->open();
    $m->waitFor(fn (): bool => ! file_exists('/usr/bin/kqueue') && ! file_exists("/proc/{$remove['pid']}"), 'apt to be done', 60, Packaged::DEAR);
    foreach ($running as $uuid) {
        $m->expectSame(1, count($m->effects('end', $uuid)), "ends of {$uuid}");
    }
    $state = $m->shop->backend->state();
    $m->expectSame($waiting, array_map(static fn (array $job): string => json_decode($job['payload'], true)['uuid'], $state->ready), 'what went back, in its order');
    $m->expectSame([0, 0], array_column($state->ready, 'attempts'), 'attempts of what went back');
    $m->expectSame([], $m->unitsLike('kqueue*'), 'units that are left');
    $m->expectSame([], $m->phpProcesses(), 'processes of the app');
    $m->expect(file_exists('/etc/kqueue/shop.toml') && file_exists('/var/lib/kqueue/shop/history.json'), 'settings and state are there');
}, seconds: 120);

row('purge', 'apt purge leaves nothing but the user: no file, no link, no unit', function (Packaged $m) use ($works): void {
    $before = $m->files();
    $m->install();
    $m->init();
    $m->must('systemctl enable --now kqueue@shop');
    $m->must('systemctl set-property kqueue-shop.slice TasksMax=4000');
    foreach (['kqueue@shop.service' => "[Service]\nNice=1\n", 'kqueue-schedule@shop.timer' => "[Timer]\nAccuracySec=2s\n", 'kqueue-schedule@shop.service' => "[Service]\nNice=1\n"] as $unit => $lines) {
        $dir = "/etc/systemd/system/{$unit}.d";
        mkdir($dir);
        file_put_contents("{$dir}/override.conf", $lines);
    }
    $m->must('systemctl enable --now kqueue-web.socket kqueue-schedule@shop.timer && systemctl mask kqueue-schedule@blog.timer');
    $works($m);
    $m->apt('purge kqueue');
    $m->expectSame([], array_values(array_diff($m->files(), $before)), 'files that are new');
    $m->expectSame([], array_values(array_diff($before, $m->files())), 'files that are gone');
    $m->expectSame([], $m->unitsLike('kqueue*'), 'units that are left');
    $m->expectSame([], $m->phpProcesses(), 'processes of the app');
}, seconds: 120);
