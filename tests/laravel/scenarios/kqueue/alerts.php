<?php

/** Alerts: each kind is made to happen, and each target is asked what it was told. */

declare(strict_types=1);

use App\Jobs\Fails;
use App\Jobs\KillsItself;
use App\Jobs\Plain;
use App\Jobs\Waits;
use Kqueue\Tests\Daemon;
use Kqueue\Tests\Ports;
use Kqueue\Tests\Wait;
use Kqueue\Tests\World;

/** A program of the sandbox's. */
$script = static function (World $w, string $name, string $text): string {
    file_put_contents($file = "{$w->sandbox->dir}/{$name}", "#!/bin/sh\n{$text}\n");
    chmod($file, 0755);

    return $file;
};

/** Writes the app's file with these lines in `[alerts]`, and a command that notes each message. */
$config = static function (World $w, string ...$lines) use ($script): string {
    $dir = $w->sandbox->dir;
    $note = $script($w, 'note', "cat >>{$dir}/told; echo >>{$dir}/told");
    $lines[] = "command = [\"{$note}\"]";
    file_put_contents($file = "{$dir}/app.toml", "[alerts]\n" . implode("\n", $lines) . "\n");

    return $file;
};

/** What the command was told. */
$told = static fn (World $w): array => array_map(
    static fn (string $line): array => json_decode($line, true, flags: JSON_THROW_ON_ERROR),
    array_values(array_filter(explode("\n", (string) @file_get_contents("{$w->sandbox->dir}/told")))),
);

/** Waits until it was told so often of an alert, in this state; and that it was not told more. */
$wait = static function (World $w, string $alert, string $state, int $count = 1) use ($told): array {
    $these = static fn (): array => array_values(array_filter($told($w), static fn (array $told): bool => [$told['alert'], $told['state']] === [$alert, $state]));
    Wait::until(static fn (): bool => count($these()) >= $count, "{$count} of {$alert} {$state}", 40.0);
    $w->expectSame($count, count($these()), "messages of {$alert} {$state}");

    return $these()[$count - 1];
};

row('alerts', 'a long wait: command, webhook and mail are told once, over a restart too, and once that it is over', function (World $w) use ($config, $told, $wait, $script): void {
    $dir = $w->sandbox->dir;
    $port = Ports::free();
    file_put_contents("{$dir}/hook.php", '<?php file_put_contents(__DIR__ . "/hooked", json_encode([$_SERVER["HTTP_X_KQUEUE_SIGNATURE"] ?? null, file_get_contents("php://input")]) . "\n", FILE_APPEND);'
        . ' if (! file_exists(__DIR__ . "/well")) { touch(__DIR__ . "/well"); http_response_code(503); }');
    $hook = new Daemon([PHP_BINARY, '-S', "127.0.0.1:{$port}", "{$dir}/hook.php"], $w->sandbox);
    file_put_contents("{$dir}/secret", "s3cret\n");
    $mail = $script($w, 'sendmail', "[ \"\$*\" = '-i -t' ] || exit 64; cat >>{$dir}/mailed; echo =end= >>{$dir}/mailed");
    $file = $config($w, 'wait = "2s"', "webhook = \"http://127.0.0.1:{$port}/\"", "webhook_secret = \"{$dir}/secret\"", 'mail = ["ops@shop.example"]', "sendmail = \"{$mail}\"");
    $options = ['config' => $file, 'pool-size' => 1, 'pool-max-size' => 1];
    $lines = static fn (string $name): array => array_values(array_filter(explode("\n", (string) @file_get_contents("{$dir}/{$name}"))));
    $letters = static fn (): array => array_slice(explode("=end=\n", (string) @file_get_contents("{$dir}/mailed")), 0, -1);
    try {
        $daemon = $w->start($options);
        $w->dispatch(new Waits("{$dir}/go", 'pooled'));
        $w->waitFor('start');
        // The pool is full.
        $job = $w->dispatch(new Waits("{$dir}/go", 'pooled'));
        $began = $wait($w, 'wait', 'began');
        $w->expectSame(['app', 'default'], [$began['app'], $began['queue']], 'the app and the queue');
        $w->expectContains('queue default: a job has waited for ', $began['text'], 'the text');
        // The first answer of the webhook was that it cannot: it is asked again.
        Wait::until(static fn (): bool => count($lines('hooked')) === 2, 'the webhook to be asked twice', 20.0);
        [$signature, $body] = json_decode($lines('hooked')[1], true);
        $w->expectSame('sha256=' . hash_hmac('sha256', $body, 's3cret'), $signature, 'the signature');
        $w->expectSame($began, json_decode($body, true), 'what the webhook is told');
        Wait::until(static fn (): bool => count($letters()) === 1, 'a letter');
        $w->expectContains("To: ops@shop.example\nSubject: [kqueue] app on ", $letters()[0], 'its head');
        $w->expectContains('alert wait: queue default: a job has waited for ', $daemon->output(), 'the log');
        $daemon->signal(SIGTERM);
        Wait::until(static fn (): bool => str_contains($daemon->output(), 'SIGTERM'), 'the engine to stop');
        touch("{$dir}/go");
        $daemon->wait();
        $w->start($options);
        $w->waitFor('end', uuid: $job);
        $over = $wait($w, 'wait', 'over');
        $w->expectSame($began['since'], $over['since'], 'when it began');
        Wait::until(static fn (): bool => count($letters()) === 2 && count($lines('hooked')) === 3, 'the others to be told that it is over');
        $w->expectSame(2, count($told($w)), 'messages in all');
    } finally {
        $hook->kill();
    }
}, engines: ['kqueue']);

row('alerts', 'jobs that fail and processes that die too often, and a backlog that grows: each is told, and its end', function (World $w) use ($config, $wait): void {
    $go = "{$w->sandbox->dir}/go";
    $w->start(['config' => $config($w, 'failure_rate = "3/s"', 'crash_rate = "1/s"', 'backlog_growth = 20'), 'pool-size' => 1, 'pool-max-size' => 1, 'max-waiting' => 5]);
    $w->waitForStatus('running');
    $w->dispatchMany(new Fails('one of many'), 30);
    $w->expectContains(' jobs failed within 1 s', $wait($w, 'failure_rate', 'began')['text'], 'the text');
    $wait($w, 'failure_rate', 'over');
    $w->dispatch(new KillsItself(SIGSEGV));
    $w->expectContains('PHP processes died within 1 s', $wait($w, 'crash_rate', 'began')['text'], 'the text');
    $wait($w, 'crash_rate', 'over');
    $w->dispatchMany(new Waits($go, 'pooled'), 60);
    $w->expectContains('queue default has grown by ', $wait($w, 'backlog_growth', 'began')['text'], 'the text');
    touch($go);
    $wait($w, 'backlog_growth', 'over');
}, drivers: ['redis'], engines: ['kqueue']);

row('alerts', 'degraded, and down from the start: each is told, with why, and its end', function (World $w) use ($config, $wait): void {
    $file = $w->sandbox->app . '/bootstrap/app.php';
    $before = (string) file_get_contents($file);
    $broken = "<?php\nthrow new RuntimeException('the new release is broken');\n";
    $options = ['config' => $config($w, 'degraded = "2s"', 'down = "1s"')];
    $daemon = $w->start($options);
    $w->dispatch(new Plain());
    $w->waitFor('end');
    file_put_contents($file, $broken);
    $w->artisan('queue:restart');
    $w->expectContains('the new release is broken', $wait($w, 'degraded', 'began')['text'], 'the reason');
    file_put_contents($file, $before);
    $w->waitForStatus('running');
    $wait($w, 'degraded', 'over');
    $daemon->stop();
    file_put_contents($file, $broken);
    // As systemd does it: started again and again.
    Wait::until(static function () use ($w, $options): bool {
        $w->start($options)->wait();

        return is_file("{$w->sandbox->dir}/told") && str_contains((string) file_get_contents("{$w->sandbox->dir}/told"), '"down"');
    }, 'a message that it is down', 40.0);
    $w->expectContains('the new release is broken', $wait($w, 'down', 'began')['text'], 'the reason');
    file_put_contents($file, $before);
    $w->start($options);
    $wait($w, 'down', 'over');
}, drivers: ['redis'], engines: ['kqueue']);

row('alerts', 'kqueue alert APP test tries each target, and says which was not told and why', function (World $w) use ($config, $told, $script): void {
    $mail = $script($w, 'sendmail', 'echo no such user >&2; exit 67');
    $file = $config($w, 'degraded = 60', 'mail = "ops"', "sendmail = \"{$mail}\"");
    [$said, $code] = $w->kqueue('alert', '--as-root', 'app', 'test', '--config', $file);
    $w->expectSame(1, $code, 'the exit code');
    $w->expect(array_key_exists('command', $said) && $said['command'] === null, 'the command is told: ' . json_encode($said));
    $w->expectContains('exit status: 67: no such user', $said['mail'], 'why mail is not');
    $w->expectSame(['test', 'test'], [$told($w)[0]['alert'], $told($w)[0]['state']], 'what the command is told');
    [$said, $code] = $w->kqueue('alert', '--as-root', 'app', 'test', '--config', $file, '--target', 'webhook');
    $w->expectContains('[alerts] sets no webhook', $said['state'], 'what is said of one that is not there');
}, drivers: ['redis'], engines: ['kqueue']);
