<?php

/** What `kqueue status` says when something is wrong, and of runtimes that somebody has started by hand. */

declare(strict_types=1);

use App\Jobs\Quick;
use Kqueue\Tests\Machine\Machine;

/** Waits until the app is in this state, by what status says and by its exit code. */
$waitForState = static function (Machine $m, string $state, int $code, string $app = 'shop'): array {
    return $m->waitFor(static function () use ($m, $state, $code, $app): array|false {
        $outcome = $m->sh("kqueue status {$app} --json");
        $told = json_decode($outcome->output, true) ?? [];

        return ($told['state'] ?? '') === $state && $outcome->status === $code ? $told : false;
    }, "{$app} to be {$state}", 30, Machine::DEAR);
};

row('status-degraded', 'after a deploy that does not boot, and without the coordinator, status and STATUS= report it', function (Machine $m) use ($waitForState): void {
    $m->start();
    $waitForState($m, 'running', 0);
    touch('/srv/shop/broken-boot');
    $m->must('systemctl reload kqueue@shop');
    $told = $waitForState($m, 'degraded', 5);
    $m->expectContains('this app does not boot', $told['reason'], 'the reason');
    $m->waitFor(static fn (): bool => str_starts_with($m->runtime()->property('StatusText'), 'shop: degraded: '), 'systemctl status to say so', 10, Machine::DEAR);
    $m->expectSame(5, $m->sh('kqueue status')->status, 'the exit code of the list');
    unlink('/srv/shop/broken-boot');
    $m->must('systemctl reload kqueue@shop');
    $waitForState($m, 'running', 0);
    $m->must('systemctl stop kqueue.socket kqueue.service');
    $told = $waitForState($m, 'degraded', 5);
    $m->expectContains('the coordinator has not answered for ', $told['reason'], 'the reason');
    $m->must('systemctl start kqueue.socket');
    $waitForState($m, 'running', 0);
});

row('status-loop', 'an app that does not start is not shown as running, and status gives the reason', function (Machine $m): void {
    touch('/srv/shop/broken-boot');
    try {
        $m->sh('systemctl start --no-block kqueue@shop');
        $outcome = $m->waitFor(static function () use ($m) {
            $outcome = $m->sh('timeout 20 kqueue status shop');

            return $outcome->status === 3 && str_contains($outcome->output, 'restart pending') ? $outcome : false;
        }, 'status to say that it does not start', 20, Machine::DEAR);
        $m->expectContains('this app does not boot', $outcome->output, 'the reason');
    } finally {
        unlink('/srv/shop/broken-boot');
    }
});

row('status-by-hand', 'root sees a runtime that the app\'s user runs by hand; what root has left hides nothing and is not listed', function (Machine $m) use ($waitForState): void {
    // An app that once ran as root, and was killed.
    $m->must('install -d -m 700 /run/kqueue/desk /run/kqueue/mine && touch /run/kqueue/desk/control.sock /run/kqueue/mine/control.sock');
    try {
        $run = $m->background('kqueue run mine --path /srv/shop --launcher process', as: 'shop');
        $m->waitFor(static fn (): bool => $m->sh('kqueue status mine', as: 'shop')->ok(), 'its own user to see it', 30, Machine::DEAR);
        $told = $waitForState($m, 'running', 0, 'mine');
        $m->expectSame($run['pid'], $told['pid'], 'the process that root is told of');
        foreach ([null, 'shop'] as $who) {
            $list = $m->sh('kqueue status', as: $who)->output;
            $m->expectContains('mine', $list, 'the list of ' . ($who ?? 'root'));
            $m->expect(! str_contains($list, 'desk'), "what does not run is not in the list of " . ($who ?? 'root') . ": {$list}");
        }
        $uuid = $m->dispatch(new Quick(1));
        $m->waitForEffects('end');
        $m->expectOnce([$uuid]);
        $m->must("systemctl stop {$run['unit']}");
    } finally {
        $m->sh('rm -rf /run/kqueue/desk /run/kqueue/mine');
    }
});

row('horizon', 'Horizon\'s records name a process of the unit, and the signals of its commands reach kqueue', function (Machine $m) use ($waitForState): void {
    $env = (string) file_get_contents('/srv/shop/.env');
    file_put_contents('/srv/shop/.env', "{$env}HORIZON=true\nHORIZON_MASTER=true\n");
    try {
        $m->start();
        $redis = Kqueue\Tests\RedisServer::running()->client();
        $redis->select(1);
        $master = static fn (): array => json_decode((string) $redis->get('shop_database_horizon:master:machine-kqueue-shop'), true) ?? [];
        $pid = $m->waitFor(static fn (): int => $master()['pid'] ?? 0, 'the record of a master');
        $m->expectSame('kqueue@shop.service', $m->unitOf($pid), 'the unit of its process');
        $m->must("kill -s USR2 {$pid}", as: 'shop');
        $told = $waitForState($m, 'paused', 6);
        $m->expectSame('php artisan horizon:continue', $told['remedy'], 'the command that ends it');
        $m->must("kill -s CONT {$pid}", as: 'shop');
        $waitForState($m, 'running', 0);
        $m->must("kill -s TERM {$pid}", as: 'shop');
        $m->waitFor(static fn (): bool => ! in_array($master()['pid'] ?? $pid, [0, $pid], true), 'another process to take over');
        $uuid = $m->dispatch(new Quick(1));
        $m->waitForEffects('end');
        $m->expectOnce([$uuid]);
        $m->must('systemctl stop kqueue@shop.service');
        $m->expectSame([], $master(), 'the record of a master, after a stop');
    } finally {
        file_put_contents('/srv/shop/.env', $env);
    }
});

row('wrong-password', 'a server that refuses the password at the first start is an outage: the app stays up, reports it, and works once it is accepted', function (Machine $m): void {
    $uuid = $m->dispatch(new Quick(1));
    $since = $m->cursor();
    $m->must('redis-cli config set requirepass another');
    try {
        // It is ready once its queue answers.
        $m->must('systemctl start --no-block kqueue@shop.service');
        $m->waitForRecord('check REDIS_USERNAME and REDIS_PASSWORD in .env', 'kqueue@shop.service', $since);
        $pid = $m->runtime()->pid();
        $m->expect(str_contains($m->sh('kqueue status shop')->text(), 'REDIS_PASSWORD'), 'status says what to change');
    } finally {
        $m->must('redis-cli -a another --no-auth-warning config set requirepass ""');
    }
    $m->waitForEffects('end');
    $m->expectOnce([$uuid]);
    $m->expectSame($pid, $m->runtime()->pid(), 'the process that runs it');
});

row('steer-rights', 'who may steer: the app\'s user and root; the group kqueue where root\'s file says so, and never what is in messages; a stranger nothing', function (Machine $m): void {
    $m->start();
    // What nobody has is asked for, so that it is the right alone that makes a difference.
    $none = ['uuids' => ['00000000-0000-4000-8000-000000000000']];
    $verbs = ['move' => $none + ['front' => true], 'cancel' => $none, 'cancel_everywhere' => $none, 'move_everywhere' => $none + ['front' => true], 'resume' => ['queue' => 'default'], 'lift' => ['class' => 'App\Jobs\Quick']];
    $program = '$s = stream_socket_client("unix:///run/kqueue/shop.control.sock", $n, $e, 10); fwrite($s, $argv[1] . "\n"); echo stream_get_contents($s);';
    $ask = static fn (string $verb, string $as): string => $m->sh('php -r ' . escapeshellarg($program) . ' -- ' . escapeshellarg(json_encode(['ask' => $verb] + $verbs[$verb])), $as)->text();
    $isRefused = static fn (string $told): bool => str_contains($told, "only the app's user and root may do that");
    $before = file_get_contents($file = '/etc/kqueue/shop.toml');
    try {
        foreach (array_keys($verbs) as $verb) {
            $m->expect(str_starts_with($ask($verb, 'shop'), '{') && ! $isRefused($ask($verb, 'shop')), "the app's user may {$verb}");
            $m->expect($isRefused($ask($verb, 'clerk')), "the group may not {$verb}");
            $told = $ask($verb, 'stranger');
            $m->expect(! str_contains($told, '"version":1,"waiting"') && ! str_contains($told, 'said'), "a stranger may not {$verb}: {$told}");
        }
        file_put_contents($file, "operators = true\n{$before}");
        $m->must('systemctl reload kqueue@shop');
        $m->waitFor(static fn (): bool => ! $isRefused($ask('resume', 'clerk')), 'the group to be let in', 20, Machine::DEAR);
        foreach (array_keys($verbs) as $verb) {
            $told = $ask($verb, 'clerk');
            $m->expect(str_starts_with($told, '{') && ! $isRefused($told), "the group may {$verb} now: {$told}");
        }
        foreach (['broken shop', 'broken shop drop --all --yes', 'failed shop', 'failed shop retry --all --yes'] as $words) {
            $outcome = $m->sh("kqueue {$words}", 'stranger');
            $m->expectSame(1, $outcome->status, "the exit code of kqueue {$words} for a stranger");
            $m->expectContains('shop runs as shop: run this as that user or as root', $outcome->text(), 'what is said');
        }
        foreach (['broken shop' => '', 'broken shop drop --all --yes' => 'dropped: 0 of 0 messages', 'failed shop' => '', 'failed shop forget --all --yes' => 'forgotten: 0 of 0 failed jobs', 'cancel shop --tag none --yes' => 'cancelled: 0 waiting, 0 running'] as $words => $said) {
            $m->expectSame($said, trim($m->must("kqueue {$words}", 'clerk')), "what kqueue {$words} does for the group");
        }
        foreach (['broken shop show', 'failed shop show', 'failed shop --match secret'] as $words) {
            $outcome = $m->sh("kqueue {$words}", 'clerk');
            $m->expectSame(1, $outcome->status, "the exit code of kqueue {$words} for the group");
            $m->expectContains('only its user and root may', $outcome->text(), 'what is said');
        }
        foreach ([null, 'shop'] as $somebody) {
            $m->expectSame('', $m->must('kqueue broken shop', $somebody), 'what others are told, where there is none');
        }
    } finally {
        file_put_contents($file, $before);
        $m->must('systemctl reload kqueue@shop');
    }
});
