<?php

/** What an operator does first: `kqueue init`, `kqueue check` and `kqueue import`. */

declare(strict_types=1);

use App\Jobs\Heavy;
use App\Jobs\Quick;
use Kqueue\Tests\Machine\Machine;

/** What `kqueue check` finds of the app: severity by check, without notes; and its exit code. */
$check = static function (Machine $m): array {
    $outcome = $m->sh('kqueue check shop --json');
    $found = [];
    foreach (json_decode($outcome->output, true, 16, JSON_THROW_ON_ERROR)[0]['findings'] as $finding) {
        $m->expect($finding['fix'] !== '', "{$finding['what']}: has a fix");
        if ($finding['severity'] !== 'note') {
            $found[$finding['check']][] = $finding['severity'];
        }
    }

    return [$found, $outcome->status];
};

row('first-minutes', 'init, enable, and jobs run; check finds nothing wrong with it', function (Machine $m) use ($check): void {
    unlink('/etc/kqueue/shop.toml');
    $m->must('systemctl daemon-reload');
    try {
        $said = $m->must('kqueue init shop --path /srv/shop');
        foreach (['user shop', 'PHP 8.', 'Laravel ', 'connection redis', 'next: systemctl enable --now kqueue@shop'] as $what) {
            $m->expectContains($what, $said, 'what init says');
        }
        $m->expectSame("644 root root\n", $m->must("stat -c '%a %U %G' /etc/kqueue/shop.toml"), 'the file');
        $m->must('kqueue config check shop');
        // Neither is there a service manager to reload twice, nor anything to write.
        $m->expectContains('already contains', $m->must('kqueue init shop --path /srv/shop'), 'what init says the second time');
        $m->must('systemctl enable --now kqueue@shop');
        $uuids = $m->dispatchAll([new Quick(1), new Heavy(1)]);
        $m->waitForEffects('end', 2);
        $m->expectOnce($uuids);
        $m->expectSame([[], 0], $check($m), 'what check finds');
        $m->expectContains('shop: nothing is wrong', $m->must('kqueue check'), 'what check says of all apps');
        $m->expectSame(0, $m->sh('kqueue check shop', as: 'shop')->status, 'what it tells the app\'s user');
        $m->expectSame('', trim($m->must('find /srv/shop -newer /etc/kqueue/shop.toml -user root')), 'what root has left in the app');
        file_put_contents('/etc/kqueue/shop.toml', "tries = 3\n", FILE_APPEND);
        $m->expectSame(1, $m->sh('kqueue init shop --path /srv/shop')->status, 'init over an edited file');
        $m->expectContains('tries = 3', (string) file_get_contents('/etc/kqueue/shop.toml'), 'the edited file');
    } finally {
        $m->sh('systemctl disable --now kqueue@shop.service kqueue@shop.socket kqueue-control@shop.socket');
    }
});

row('check', 'check names each fault of an app that is broken in many ways', function (Machine $m) use ($check): void {
    $m->must('systemctl enable kqueue@shop');
    $m->configure(['pool_size' => 1000, 'pool_max_size' => 1000, 'renew' => false, 'timeout' => 600]);
    $cache = (string) file_get_contents('/srv/shop/config/cache.php');
    $run = $m->background('php /srv/shop/artisan queue:work', as: 'shop');
    try {
        file_put_contents('/srv/shop/config/cache.php', "<?php return ['default' => 'array', 'stores' => ['array' => ['driver' => 'array']], 'prefix' => ''];\n");
        $m->must('chown root: /srv/shop/storage/logs');
        @mkdir('/etc/supervisor/conf.d', 0755, true);
        file_put_contents('/etc/supervisor/conf.d/shop.conf', "[program:shop]\ncommand=php /srv/shop/artisan queue:work\nuser=shop\n");
        // Later than the units that were made of it.
        touch('/etc/kqueue/shop.toml', time() + 60);
        [$found, $status] = $check($m);
        ksort($found);
        $m->expectSame([
            'cache' => ['warning'],
            'memory' => ['warning'],
            'retry-after' => ['error'],
            'rival' => ['warning', 'warning'],
            'storage' => ['error'],
            'units' => ['warning'],
        ], $found, 'what check finds');
        $m->expectSame(1, $status, 'its exit code');
        $text = $m->sh('kqueue check shop')->text();
        foreach (['chown -R shop /srv/shop/storage/logs', 'systemctl daemon-reload', 'CACHE_STORE', (string) $run['pid'], 'kqueue import supervisor /etc/supervisor/conf.d/shop.conf'] as $what) {
            $m->expectContains($what, $text, 'what check says');
        }
        $imported = $m->must('kqueue import supervisor /etc/supervisor/conf.d/shop.conf');
        $m->expectContains('path = "/srv/shop"', $imported, 'what import makes of it');
        $m->must('systemctl stop redis-server.service');
        $m->expectSame(['error'], $check($m)[0]['queue'] ?? [], 'what check says of a queue that does not answer');
    } finally {
        file_put_contents('/srv/shop/config/cache.php', $cache);
        $m->sh('chown shop: /srv/shop/storage/logs; rm -rf /etc/supervisor');
        $m->sh("systemctl stop {$run['unit']}; systemctl disable kqueue@shop.service kqueue@shop.socket kqueue-control@shop.socket");
    }
});

row('check-user', 'check and init of an app that root deployed name the user that could run it', function (Machine $m) use ($check): void {
    $m->must('chown root: /srv/shop');
    try {
        file_put_contents('/etc/kqueue/shop.toml', "path = \"/srv/shop\"\n");
        $m->must('systemctl daemon-reload');
        [$found] = $check($m);
        $m->expectSame(['error'], $found['user'] ?? [], 'what check says of the user');
        unlink('/etc/kqueue/shop.toml');
        $m->expectContains('--user', $m->sh('kqueue init shop --path /srv/shop')->text(), 'what init says');
        $m->must('kqueue init shop --path /srv/shop --user shop');
        $m->start();
        $uuid = $m->dispatch(new Quick(1));
        $m->waitForEffects('end');
        $m->expectOnce([$uuid]);
        $m->expectSame([[], 0], $check($m), 'what check finds then');
    } finally {
        $m->must('chown shop: /srv/shop');
    }
});

row('init-php', 'init takes the PHP with which the app boots, even if PATH has another', function (Machine $m): void {
    unlink('/etc/kqueue/shop.toml');
    // A PHP without its extensions.
    $real = realpath('/usr/bin/php');
    file_put_contents('/usr/local/bin/php', "#!/bin/sh\nexec {$real} -n \"$@\"\n");
    chmod('/usr/local/bin/php', 0755);
    try {
        $m->expectContains("php = \"{$real}\"", $m->must('kqueue init shop --path /srv/shop'), 'what init writes');
        $m->start();
        $uuid = $m->dispatch(new Quick(1));
        $m->waitForEffects('end');
        $m->expectOnce([$uuid]);
        $outcome = $m->sh('kqueue init shop --path /srv/shop --php php --force');
        $m->expectContains('warning', $outcome->errors, 'what init says of the other');
        $m->expectContains('error', $m->sh('kqueue check shop')->text(), 'what check says of it');
    } finally {
        unlink('/usr/local/bin/php');
    }
});

row('import', 'settings of supervisord and Horizon become the app\'s file, and jobs run', function (Machine $m): void {
    $works = function (array $keys) use ($m): void {
        $text = (string) file_get_contents('/etc/kqueue/shop.toml');
        foreach ($keys as $key) {
            $m->expectContains("\n{$key}\n", $text, 'the file');
        }
        $m->must('systemctl restart kqueue@shop');
        $uuid = $m->dispatch(new Quick(1), 'high');
        $m->waitForEffects('end', uuid: $uuid);
        $m->expectOnce([$uuid]);
    };
    $file = '/run/kqueue-test-shop.conf';
    try {
        file_put_contents($file, "[program:shop]\ncommand=php /srv/shop/artisan queue:work redis --queue=high,default --tries=2 --sleep=3\nnumprocs=3\n");
        $outcome = $m->sh("kqueue import supervisor {$file} --write");
        $m->expectSame(1, $outcome->status, 'over the file that is there');
        $outcome = $m->sh("kqueue import supervisor {$file} --write --force");
        $m->expectSame(0, $outcome->status, 'with --force');
        $m->expectContains('--sleep=3', $outcome->errors, 'what has no equivalent');
        $works(['queues = "high,default"', 'pool_size = 3', 'tries = 2']);
        file_put_contents('/srv/shop/config/horizon.php', "<?php return ['defaults' => ['one' => ['connection' => 'redis', 'queue' => ['high']]],\n"
            . "'environments' => ['production' => ['one' => ['maxProcesses' => 4, 'tries' => 3]]]];\n");
        $m->must('kqueue import horizon --path /srv/shop --write --force');
        $works(['queues = "high"', 'pool_size = 4', 'tries = 3']);
    } finally {
        $m->sh("rm -f {$file} /srv/shop/config/horizon.php /etc/kqueue/shop.toml~");
    }
});
