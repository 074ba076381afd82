<?php

/** What an app's own user may try against the sockets that systemd makes for it. */

declare(strict_types=1);

use App\Jobs\Heavy;
use App\Jobs\Pooled;
use App\Jobs\Quick;
use Kqueue\Tests\Machine\Machine;

/** Where a socket of the app is, and where it was while its directory belonged to the app. */
const PLACES = ['/run/kqueue/shop.control.sock', '/run/kqueue/shop/control.sock'];

/** Runs PHP in the background, as the app's user. */
$as_app = static function (Machine $m, string $code): array {
    $file = '/srv/shop/storage/attack-' . bin2hex(random_bytes(4)) . '.php';
    file_put_contents($file, "<?php\n{$code}\n");

    return $m->background(PHP_BINARY . " {$file}", 'shop');
};

row('race', 'a symlink in the place of a socket does not get the owner and mode that systemd gives the socket', function (Machine $m) use ($as_app): void {
    $m->must('systemctl stop kqueue@shop.service kqueue@shop.socket kqueue-control@shop.socket');
    file_put_contents('/root/target', 'of root');
    chmod('/root/target', 0600);
    for ($round = 0; $round < 10; $round++) {
        // As soon as the socket is there, the link is where it was: systemd has bound it, and not given it away yet.
        $attack = $as_app($m, '
            foreach (' . var_export(PLACES, true) . ' as $i => $place) {
                is_writable(dirname($place)) && @symlink("/root/target", dirname($place) . "/.link");
            }
            touch("/srv/shop/storage/ready");
            for ($until = microtime(true) + 5; microtime(true) < $until;) {
                foreach (' . var_export(PLACES, true) . ' as $place) {
                    clearstatcache();
                    if (@filetype($place) === "socket") {
                        @rename(dirname($place) . "/.link", $place);
                        exit;
                    }
                }
            }');
        $m->waitFor(static fn (): bool => file_exists('/srv/shop/storage/ready'), 'the attack to be ready');
        $m->must('systemctl start kqueue-control@shop.socket');
        $m->waitFor(static fn (): bool => $m->unit("{$attack['unit']}.service")->state() !== 'active', 'the attack to have ended', pause: Machine::DEAR);
        clearstatcache();
        $m->expectSame([0, 0, 0600], [fileowner('/root/target'), filegroup('/root/target'), fileperms('/root/target') & 0777], "owner and mode of root's file, round {$round}");
        $m->must('systemctl stop kqueue-control@shop.socket');
        @unlink('/srv/shop/storage/ready');
    }
    $m->expectSame('755 root root', trim($m->must("stat -c '%a %U %G' /run/kqueue")), 'the directory of the sockets');
});

row('former-user', 'the contents of an app\'s directories are given to no other user, neither when its user changes nor when its user is unknown', function (Machine $m): void {
    $m->start();
    $m->expectSame("STATE_DIRECTORY=/var/lib/kqueue/shop\nRUNTIME_DIRECTORY=/run/kqueue/shop", trim($m->must("tr '\\0' '\\n' </proc/{$m->runtime()->pid()}/environ | grep _DIRECTORY | sort -r")), 'what the runtime is told');
    $m->must('systemctl stop kqueue@shop.service');
    $planted = ['/var/lib/kqueue/shop/planted', '/run/kqueue/shop/planted'];
    $m->must('for f in ' . implode(' ', $planted) . '; do cp /bin/true $f && chmod 2755 $f; done', 'shop');
    $facts = static fn (): string => $m->must('stat -c "%a %U %G" ' . implode(' ', $planted));
    $before = $facts();
    $config = (string) file_get_contents('/etc/kqueue/shop.toml');
    $mine = (string) preg_replace('/^user = .*\n/m', '', $config);
    try {
        foreach (['belongs to user' => "user = \"stranger\"\n{$mine}", 'user' => "user = 7\n{$mine}", 'shop.toml' => null] as $why => $text) {
            $since = $m->cursor();
            $text === null ? unlink('/etc/kqueue/shop.toml') : file_put_contents('/etc/kqueue/shop.toml', $text);
            $m->must('systemctl daemon-reload');
            $m->expect(! $m->sh('systemctl start kqueue@shop.service')->ok(), "does not start ({$why})");
            $m->waitForRecord($why, 'kqueue@shop.service', $since);
            $m->must('systemctl stop kqueue@shop.service');
            $m->expectSame($before, $facts(), "mode and owner of what it has put there ({$why})");
        }
        // As the line says.
        file_put_contents('/etc/kqueue/shop.toml', $config);
        $m->must('rm ' . implode(' ', $planted) . ' && systemctl daemon-reload');
        $m->start();
    } finally {
        file_put_contents('/etc/kqueue/shop.toml', $config);
        $m->must('systemctl daemon-reload');
    }
});

row('trigger-limit', 'an app that fails at its start while a client keeps connecting recovers by itself', function (Machine $m) use ($as_app): void {
    $m->start();
    $pid = $m->runtime()->pid();
    rename('/srv/shop/artisan', '/srv/shop/artisan.off');
    try {
        $since = $m->cursor();
        $attack = $as_app($m, "posix_kill({$pid}, SIGKILL);" . '
            for ($until = microtime(true) + 8; microtime(true) < $until; usleep(2000)) {
                foreach (["/run/kqueue/shop.control.sock", "/run/kqueue/shop/control.sock"] as $socket) {
                    @stream_socket_client("unix://{$socket}");
                }
            }');
        $m->waitForRecord('has no artisan', 'kqueue@shop.service', $since);
        $m->waitFor(static fn (): bool => $m->unit("{$attack['unit']}.service")->state() !== 'active', 'the attack to have ended', 60, Machine::DEAR);
    } finally {
        rename('/srv/shop/artisan.off', '/srv/shop/artisan');
    }
    $m->expectSame(['active', 'active'], [$m->unit('kqueue@shop.socket')->state(), $m->unit('kqueue-control@shop.socket')->state()], 'its sockets');
    // Nobody but its own client: whoever connects to it has it started. A start that fails closes its connections.
    $connect = 'php -r ' . escapeshellarg('@stream_socket_client("unix:///run/kqueue/shop.control.sock");');
    $m->waitFor(static fn (): bool => $m->runtime()->state() === 'active' || $m->sh($connect, as: 'shop') && false, 'the app to run', 30, Machine::DEAR);
});

row('old-layout', 'sockets of a version that had them in the app\'s directory move to root\'s, under load, and no job is lost', function (Machine $m): void {
    $m->must('systemctl stop kqueue@shop.service kqueue@shop.socket kqueue-control@shop.socket');
    $units = ['kqueue@.socket' => 'worker', 'kqueue-control@.socket' => 'control'];
    foreach ($units as $unit => $name) {
        $text = (string) file_get_contents("/usr/lib/systemd/system/{$unit}");
        file_put_contents("/run/systemd/system/{$unit}", str_replace("/run/kqueue/%i.{$name}.sock", "/run/kqueue/%i/{$name}.sock", $text));
        $m->dropIn(str_replace('@', '@shop', $unit), "[Socket]\nUser=shop\nRuntimeDirectory=kqueue/shop\nRuntimeDirectoryPreserve=yes\nExecStartPre=/bin/true\n");
    }
    // Pooled workers are told of the place that this version has.
    symlink('shop/worker.sock', '/run/kqueue/shop.worker.sock');
    $m->must('systemctl start kqueue@shop.socket kqueue-control@shop.socket kqueue@shop.service');
    $m->expectSame('shop', trim($m->must('stat -c %U /run/kqueue/shop/control.sock')), 'owner of the old socket');
    $uuids = $m->dispatchAll([new Pooled(4000), new Heavy(4000)]);
    $m->waitForEffects('start', 2);

    foreach ($units as $unit => $name) {
        unlink("/run/systemd/system/{$unit}");
        $m->must('rm -r /run/systemd/system/' . str_replace('@', '@shop', $unit) . '.d');
    }
    unlink('/run/kqueue/shop.worker.sock');
    $m->must('systemctl daemon-reload');
    $m->must('/usr/lib/kqueue/move-sockets');
    $m->expectSame([], $m->effects('end'), 'jobs that had ended by then');
    foreach (['worker' => '600 shop shop', 'control' => '660 shop kqueue'] as $name => $facts) {
        $m->expectSame($facts, trim($m->must("stat -c '%a %U %G' /run/kqueue/shop.{$name}.sock")), "{$name}.sock");
    }
    $m->waitForEffects('end', 2);
    $m->expectOnce($uuids);
    $next = $m->dispatchAll([new Quick(1), new Pooled(1), new Heavy(1)]);
    $m->waitForEffects('end', 5);
    $m->expectOnce($next);
    $m->expectSame('shop', $m->status('clerk')['app'], 'the app that answers one of the group kqueue');
});

row('old-layout-control', 'an app of which only the control socket is active is moved too, and one that cannot be moved is named', function (Machine $m): void {
    $m->must('systemctl stop kqueue@shop.service kqueue@shop.socket kqueue-control@shop.socket');
    $m->dropIn('kqueue-control@shop.socket', "[Socket]\nListenStream=\nListenStream=/run/kqueue/old.sock\n");
    $m->must('systemctl start kqueue-control@shop.socket');
    $m->must('rm -r /run/systemd/system/kqueue-control@shop.socket.d && systemctl daemon-reload');
    $place = '/run/kqueue/shop.control.sock';
    mkdir($place);
    try {
        $moved = $m->sh('/usr/lib/kqueue/move-sockets');
        $m->expect($moved->ok(), 'a package is not held up by it');
        $m->expectContains('sockets of shop could not be moved', $moved->text(), 'what it says');
    } finally {
        rmdir($place);
    }
    $m->must('systemctl reset-failed kqueue-control@shop.socket; systemctl start kqueue-control@shop.socket');
    unlink($place);
    $moved = $m->sh('/usr/lib/kqueue/move-sockets');
    $m->expect($moved->ok(), $moved->text());
    $m->expectSame('660 shop kqueue', trim($m->must("stat -c '%a %U %G' {$place}")), 'control.sock');
    $m->expectSame('inactive', $m->unit('kqueue@shop.socket')->state(), 'the socket that was stopped');
});

row('in-the-way', 'a file in the place of an older version\'s worker socket, or a holder of its lock, does not keep the app from starting', function (Machine $m): void {
    $m->start();
    $m->must('systemctl stop kqueue@shop.service');
    $old = '/run/kqueue/shop/worker.sock';
    try {
        foreach (["rm -rf {$old} && mkdir -p {$old}/full" => '', "rm -r {$old} && touch {$old}" => 'flock /run/kqueue/shop/lock'] as $prepare => $holder) {
            $m->must($prepare, 'shop');
            $since = $m->cursor();
            $m->must("{$holder} systemctl start kqueue@shop.service");
            $m->waitForRecord('the worker socket of older versions', 'kqueue@shop.service', $since);
            $uuid = $m->dispatch(new Quick(1));
            $m->waitForEffects('end', uuid: $uuid);
            $m->must('systemctl stop kqueue@shop.service');
        }
    } finally {
        $m->must("rm -rf {$old}");
    }
});
