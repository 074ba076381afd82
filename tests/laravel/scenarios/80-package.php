<?php

/** The Composer package, installed in the app as Composer installs it. */

declare(strict_types=1);

use App\Ev;
use App\Handlers\Old;
use App\Jobs\Annotated;
use App\Jobs\Chooses;
use App\Jobs\OfFirstPhpKqueue;
use App\Jobs\OfPhpKqueue;
use App\Jobs\Plain;
use App\Jobs\Pooled;
use App\Jobs\Quick;
use App\Jobs\Ranked;
use App\Jobs\Sealed;
use App\Jobs\Sleeps;
use App\Jobs\Throws;
use App\Jobs\Timed;
use App\Listeners\Ls;
use App\Mail\Letter;
use Illuminate\Events\CallQueuedListener;
use Illuminate\Mail\SendQueuedMailable;
use Illuminate\Queue\Queue;
use Illuminate\Support\Carbon;
use Illuminate\Support\Str;
use Kqueue\KqueueServiceProvider;
use Kqueue\Tests\Wait;
use Kqueue\Tests\World;

/** Everything that a program of its own needs to know, to be kqueue in this sandbox. */
$env = static fn (World $w): array => [
    'KQUEUE_BINARY' => (string) realpath((string) getenv('KQUEUE_BIN')),
    'RUNTIME_DIRECTORY' => $w->sandbox->dir . '/run',
    'STATE_DIRECTORY' => $w->sandbox->dir . '/state',
];

row('package', 'Laravel finds it by itself, and a job that declares nothing is queued as stock does it, to the byte', function (World $w): void {
    $w->expect($w->laravel->getProvider(KqueueServiceProvider::class) !== null, 'the provider is registered');
    Carbon::setTestNow(Carbon::now());
    Str::createUuidsUsing(static fn () => new class () {
        public function __toString(): string
        {
            return '5d0bb3a4-7a8c-4f57-9b5c-8a0b1d6f2e11';
        }
    });
    $listener = new CallQueuedListener(Ls::class, 'handle', [new Ev(1)]);
    foreach ([new Plain(), $listener, static fn (): bool => true] as $job) {
        $w->laravel['queue']->connection('database')->push($job);
    }
    $w->push(Old::class . '@fire', ['a' => 1]);
    Queue::createPayloadUsing(null);
    foreach ([new Plain(), clone $listener, static fn (): bool => true] as $job) {
        $w->laravel['queue']->connection('database')->push($job);
    }
    $w->laravel['queue']->connection('database')->push(Old::class . '@fire', ['a' => 1]);
    $payloads = array_column($w->backend->state()->ready, 'payload');
    // A closure is sealed with its place in the file, and a listener with nothing that changes.
    $payloads = preg_replace(['/0{10,}[0-9a-f]+/', '/"hash\\\\?";s:\d+:\\\\?"[^"]*"/', '/#L\d+|\(80-package\.php:\d+\)/'], '', $payloads);
    $w->expectSame(8, count($payloads), 'jobs');
    $w->expectSame(array_slice($payloads, 4), array_slice($payloads, 0, 4), 'payloads');
}, drivers: ['database'], engines: ['stock'], package: true);

row('package', 'what a job declares goes into its payload: property, method, attribute, in a job of any kind', function (World $w): void {
    $class = static fn (string $class, mixed ...$arguments): object => new $class(...$arguments);
    foreach ([
        'a property' => [new Pooled(0), ['estimatedDuration' => 10]],
        'a property set at dispatch' => [(new Ranked(0))->with(['priority' => -3]), ['isolated' => true, 'priority' => -3]],
        'a method that says true' => [new Chooses(true), ['isolated' => true]],
        'a method that says false' => [new Chooses(false), ['isolated' => false]],
        'a method that says nothing' => [new Chooses(null), null],
        'attributes' => [new Annotated(), ['isolated' => true, 'maxMemory' => 96, 'estimatedDuration' => 0.5, 'priority' => 7, 'maxTasks' => 64, 'cpuWeight' => 50, 'ioWeight' => 20]],
        'an encrypted job' => [(new Sealed('x'))->with(['isolated' => false]), ['isolated' => false]],
        'a listener' => [$class(CallQueuedListener::class, Annotated::class, 'handle', []), ['isolated' => true, 'maxMemory' => 96, 'estimatedDuration' => 0.5, 'priority' => 7, 'maxTasks' => 64, 'cpuWeight' => 50, 'ioWeight' => 20]],
        'a mailable' => [new SendQueuedMailable(new Letter()), ['maxMemory' => 200]],
        'a job of the PHP KQueue' => [new OfPhpKqueue('x'), ['isolated' => true, 'maxMemory' => 64, 'priority' => 0]],
    ] as $what => [$job, $hints]) {
        $w->dispatch($job, $queue = 'q' . md5($what));
        $payload = json_decode($w->backend->state($queue)->ready[0]['payload'], true);
        $w->expectSame($hints, $payload['kqueue'] ?? null, $what);
        $w->expectSame($job instanceof Annotated ? 33 : ($job->timeout ?? null), $payload['timeout'], "timeout of {$what}");
    }
}, engines: ['stock'], package: true);

row('package', 'each job runs where it says itself, encrypted or not', function (World $w): void {
    $uuids = [];
    foreach ([true, false] as $isolated) {
        $uuids[] = $w->dispatch(new Chooses($isolated));
        $uuids[] = $w->dispatch((new Sealed('x'))->with(['isolated' => $isolated]));
    }
    $uuids[] = $w->dispatch(new Annotated());
    $w->work();
    foreach ($uuids as $uuid) {
        $w->expectAttempts([1], $uuid);
    }
    if ($w->engine->isKqueue()) {
        foreach ([Chooses::class, Sealed::class] as $class) {
            $w->expectSame(['inline', 'isolated'], $w->tiers($class, 2), "the tiers of {$class}");
        }
        $w->expectSame(['isolated'], $w->tiers(Annotated::class), 'the tier of a class with attributes');
    }
    $w->expectGone();
    $w->expectFailed(0);
}, package: true);

row('package', 'of the jobs that wait for one tier the most important goes first', function (World $w): void {
    $first = $w->dispatch(new Ranked(300));
    $w->start(['max-concurrent-isolated' => 1]);
    $w->waitFor('start', uuid: $first);
    $order = array_map(fn (int $priority): string => $w->dispatch((new Ranked(0))->with(['priority' => $priority])), ['low' => -1, 'high' => 9, 'usual' => 0]);
    $w->waitFor('end', 4);
    $w->expectSame([$first, $order['high'], $order['usual'], $order['low']], array_column($w->journal('end'), 'uuid'), 'the order');
}, engines: ['kqueue'], package: true);

row('package', 'a job class of the PHP KQueue runs unchanged, of its first versions and of its last', function (World $w): void {
    $w->leftToChance('the ids that the base class draws; and only kqueue knows of maxMemory');
    $new = $w->dispatch(new OfPhpKqueue('new'));
    $old = $w->dispatch(new OfFirstPhpKqueue('old'));
    $w->work();
    $found = [];
    foreach ($w->journal('old') as $fact) {
        $w->expectContains('job_', $fact['id'], 'the job\'s own id');
        $found[$fact['uuid']] = [$fact['text'], $fact['says'], $fact['attempts']];
    }
    ksort($found);
    $expected = [$new => ['new', [11, 64, true, 0], 1], $old => ['old', [30, 48, false, 5], 1]];
    ksort($expected);
    $w->expectSame($expected, $found, 'what the jobs saw');
    if ($w->engine->isKqueue()) {
        $w->expectSame(['isolated'], $w->tiers(OfPhpKqueue::class), 'the tier of the new one');
        $w->expectSame(['inline'], $w->tiers(OfFirstPhpKqueue::class), 'the tier of the old one');
    }
    $w->expectGone();
    $w->expectFailed(0);
}, package: true);

row('doorbell', 'rings once the job can be seen, and keeps nobody waiting', function (World $w): void {
    $path = $w->sandbox->dir . '/bell.sock';
    $bell = stream_socket_server('udg://' . $path, flags: STREAM_SERVER_BIND);
    stream_set_blocking($bell, false);
    $rang = static function () use ($bell): int {
        for ($times = 0; ($said = stream_socket_recvfrom($bell, 16)) !== false && $said !== ''; $times++);

        return $times;
    };
    $config = $w->laravel['config'];
    $config->set('kqueue.doorbell', $path);
    $w->dispatch(new Plain());
    $w->expectSame($w->sandbox->driver === 'redis' ? 0 : 1, $rang(), 'rings for a job');
    if ($w->sandbox->driver === 'database') {
        $database = $w->laravel['db']->connection();
        $database->transaction(function () use ($w, $rang): void {
            $w->dispatch(new Plain());
            $w->expectSame(0, $rang(), 'rings for a job that nobody can see yet');
        });
        $w->expectSame(1, $rang(), 'rings when the transaction is over');
        $database->beginTransaction();
        $w->dispatch(new Plain());
        $database->rollBack();
        $w->expectSame(0, $rang(), 'rings for a job that never was');
        $config->set('kqueue.doorbell', false);
        $w->dispatch(new Plain());
        $w->expectSame(0, $rang(), 'rings where there is to be no bell');
        $config->set('kqueue.doorbell', $path);
        // Far more than a socket holds that nobody reads.
        for ($i = 0; $i < 1200; $i++) {
            $w->dispatch(new Plain());
        }
        $w->expect($rang() > 0, 'it rang');
        fclose($bell);
        unlink($path);
        $w->dispatch(new Plain());
        $w->expectQueue(ready: 1204);
        // Where it is when nobody says so: as kqueue names the app after its directory.
        $config->set('kqueue.doorbell', true);
        $home = '/tmp/kqueue-' . posix_geteuid();
        $name = 't' . getmypid();
        $config->set('kqueue.app', $name);
        mkdir("{$home}/{$name}", 0700, true);
        try {
            $bell = stream_socket_server("udg://{$home}/{$name}/bell.sock", flags: STREAM_SERVER_BIND);
            stream_set_blocking($bell, false);
            $w->dispatch(new Plain());
            $w->expectSame('!', stream_socket_recvfrom($bell, 16), 'a ring at the usual place');
        } finally {
            unlink("{$home}/{$name}/bell.sock");
            rmdir("{$home}/{$name}");
            @rmdir($home);
        }
    }
}, engines: ['stock'], package: true);

row('doorbell', 'a job in a database starts sooner with it than without', function (World $w): void {
    // In memory: what a disk takes to write a row is more than what is measured here.
    $memory = '/dev/shm/kqueue-' . getmypid() . '.sqlite';
    $disk = $w->sandbox->app . '/database/database.sqlite';
    rename($disk, $memory) && symlink($memory, $disk);
    try {
        $file = $w->sandbox->dir . '/times';
        touch($file);
        $w->start();
        $w->waitFor('end', uuid: $w->dispatch(new Plain()));
        $bell = $w->sandbox->dir . '/run/bell.sock';
        $w->expectSame('0666', substr(sprintf('%o', fileperms($bell)), -4), 'anybody may ring');
        $times = [true => [], false => []];
        for ($i = 0; $i < 24; $i++) {
            $rings = $i % 2 === 0;
            $w->laravel['config']->set('kqueue.doorbell', $rings ? $bell : false);
            // What is measured is how an idle queue is looked at, so let it be idle; and not always for as long.
            usleep(600_000 + 17_000 * $i);
            $w->dispatch(new Timed($file));
            $dispatched = microtime(true);
            $line = Wait::until(static fn (): ?string => file($file)[$i] ?? null, 'the job');
            $times[$rings][] = (float) explode(' ', $line)[1] - $dispatched;
        }
    } finally {
        unlink($memory);
    }
    // The quicker ones: how slow the others are is the machine's doing, which may have more to do.
    $quartile = static function (array $times): float {
        sort($times);

        return $times[intdiv(count($times), 4)];
    };
    [$with, $without] = [$quartile($times[true]), $quartile($times[false])];
    $w->expect($with * 2 < $without, sprintf('with a doorbell twice as soon as without (%.1f ms, %.1f ms)', $with * 1000, $without * 1000));
}, drivers: ['database'], engines: ['kqueue'], package: true);

row('package', 'config/kqueue.php is published, and its settings count after file and command line, a deploy\'s too', function (World $w): void {
    $w->artisan('vendor:publish', ...['--tag' => 'kqueue-config']);
    $file = $w->sandbox->app . '/config/kqueue.php';
    $published = (string) file_get_contents($file);
    $w->expectSame(array_keys((array) $w->laravel['config']['kqueue']), array_keys(require $file), 'what is published');
    $say = static fn (string $settings): int|false => file_put_contents($file, str_replace("'settings' => [", "'settings' => [\n{$settings}", $published));
    $say("'default_tier' => 'inline', 'isolated_memory_cap' => '64G', 'colour' => 'blue',");
    $daemon = $w->start();
    $w->dispatch(new Plain());
    $w->expectSame(['inline'], $w->tiers(Plain::class), 'the tier');
    $w->expectContains('config/kqueue.php: isolated_memory_cap: cannot be set by the app', $daemon->output(), 'what it says');
    $w->expectContains('config/kqueue.php: colour: no such setting', $daemon->output(), 'what it says');
    $say("'default_tier' => 'pooled', 'tries' => 2,");
    $w->artisan('queue:restart');
    Wait::until(static fn (): bool => str_contains($daemon->output(), 'config/kqueue.php: default_tier = "pooled", tries = 2'), 'the new settings');
    $uuid = $w->dispatch(new Throws());
    $w->waitFor('failed');
    $w->expectAttempts([1, 2], $uuid);
    $w->expectSame(['pooled', 'pooled'], $w->tiers(Throws::class, 2), 'the tiers');
    $daemon->stop();
    $w->start(['default-tier' => 'isolated', 'tries' => 1]);
    $uuid = $w->dispatch(new Throws());
    $w->waitFor('failed', 2);
    $w->expectAttempts([1], $uuid);
    $w->expectSame(['isolated', 'pooled', 'pooled'], $w->tiers(Throws::class, 3), 'the tiers');
}, engines: ['kqueue'], package: true);

/** The sandboxes of root's are root's. */
define('AS_ROOT', posix_geteuid() === 0 ? ['--as-root'] : []);

row('kqueue:work', 'becomes kqueue, with its options, and drains when it is told to stop', function (World $w) use ($env): void {
    $w->sandbox->setEnv(['QUEUE_RETRY_AFTER' => '91']);
    $daemon = $w->startArtisan(['kqueue:work', ...AS_ROOT, $w->sandbox->driver, '--queue=high,low', '--timeout=7', '--memory=99', '--max-time=600', '--max-jobs=3', '--secure'], $env($w));
    $w->dispatch(new Plain(), 'high');
    $w->dispatch(new Quick(0), 'low');
    $w->waitFor('end', 2);
    $w->expectSame(['isolated'], $w->tiers(Plain::class), 'the tier of one that declares nothing');
    $w->expectSame(['inline'], $w->tiers(Quick::class), 'the tier of one that does');
    $w->expectSame((string) realpath((string) getenv('KQUEUE_BIN')), readlink("/proc/{$daemon->pid}/exe"), 'what the process is now');
    $line = explode("\0", (string) file_get_contents("/proc/{$daemon->pid}/cmdline"), -1);
    $w->expectSame(
        ['run', '--path=' . $w->sandbox->app, '--php=' . PHP_BINARY, "--connection={$w->sandbox->driver}", '--queues=high,low', '--timeout=7', '--worker-memory=99', '--max-jobs=3', '--max-time=600', ...AS_ROOT, '--default-tier=isolated'],
        array_slice($line, 1),
        'its options',
    );
    $environment = (string) file_get_contents("/proc/{$daemon->pid}/environ");
    $w->expect(! str_contains($environment, 'QUEUE_RETRY_AFTER'), 'what stands in .env is not in its environment');
    $slow = $w->dispatch(new Sleeps(600), 'high');
    $w->waitFor('start', uuid: $slow);
    $w->expectSame(0, $daemon->stop(), 'exit status after SIGTERM');
    $w->expectSame(1, count($w->journal('end', $slow)), 'the job that ran has ended');
}, engines: ['kqueue'], package: true);

row('kqueue:work', 'ends after --max-jobs; --inline and --smart say where jobs run that declare nothing', function (World $w) use ($env): void {
    foreach (['--inline' => [Plain::class, 'inline'], '--smart' => [Sleeps::class, 'pooled']] as $option => [$class, $tier]) {
        for ($i = 0; $i < 3; $i++) {
            $w->dispatch(new $class(0));
        }
        $daemon = $w->startArtisan(['kqueue:work', ...AS_ROOT, '--max-jobs=2', $option], $env($w));
        $w->expectSame(0, $daemon->wait(), 'exit status');
        $w->expectSame([$tier, $tier], $w->tiers($class, 2), "tiers with {$option}");
        $w->expectQueue(ready: 1);
        $w->artisan('queue:clear', ...['connection' => $w->sandbox->driver, '--force' => true]);
    }
}, engines: ['kqueue'], package: true);

row('kqueue:work', 'refuses what means nothing to kqueue, with the reason, and says what to run where it cannot', function (World $w) use ($env): void {
    foreach ([
        2 => [
            ['--sleep=3'], 'kqueue:work: --sleep: kqueue does not poll',
            ['--inline', '--secure'], 'kqueue:work: --inline and --secure: each sets the default tier',
            ['nowhere'], "kqueue:work: no queue connection named 'nowhere'",
            ['--timeout=soon'], '--timeout: expected whole seconds',
        ],
    ] as $status => $cases) {
        foreach (array_chunk($cases, 2) as [$arguments, $text]) {
            $daemon = $w->startArtisan(['kqueue:work', ...$arguments], $env($w));
            $w->expectSame($status, $daemon->wait(), 'exit status of ' . implode(' ', $arguments));
            $w->expectContains($text, $daemon->output(), 'what it says');
        }
    }
    $daemon = $w->startArtisan(['kqueue:work'], ['KQUEUE_BINARY' => 'no-such-program'] + $env($w));
    $w->expectSame(78, $daemon->wait(), 'exit status without kqueue');
    $w->expectContains("no executable 'no-such-program'", $daemon->output(), 'what it says');

    $daemon = $w->startArtisan(['kqueue:work', ...AS_ROOT, '--max-jobs=1'], $env($w), ['-d', 'disable_functions=pcntl_exec']);
    $w->expectSame(78, $daemon->wait(), 'exit status of a PHP that cannot exec');
    $w->expect((bool) preg_match('/pcntl_exec; run: (.+)/', $daemon->output(), $found), 'it says what to run');
    $w->dispatch(new Plain());
    putenv('RUNTIME_DIRECTORY=' . $w->sandbox->dir . '/run');
    putenv('STATE_DIRECTORY=' . $w->sandbox->dir . '/state');
    exec("{$found[1]} 2>&1", $said, $status);
    $w->expectSame(0, $status, 'exit status of what it said: ' . implode("\n", $said));
    $w->expectRuns(1);
}, engines: ['kqueue'], package: true);

row('kqueue:status', 'and its like ask kqueue about this app, with its options, output and exit codes', function (World $w) use ($env): void {
    $run = $w->sandbox->dir . '/run';
    $ask = static function (string $command, string ...$arguments) use ($w, $env, $run): array {
        $daemon = $w->startArtisan([$command, "--runtime-dir={$run}", ...$arguments], $env($w));
        $status = $daemon->wait();

        return [$status, $daemon->output()];
    };
    [$status, $said] = $ask('kqueue:status');
    $w->expectSame(4, $status, 'exit status where nothing has ever run');
    $w->expectContains(': no such app', $said, 'what it says');
    $w->start(['tries' => 1]);
    $uuid = $w->dispatch(new Throws());
    $w->waitFor('failed');
    [$status, $said] = $ask('kqueue:status');
    $w->expectSame(0, $status, 'exit status');
    $w->expectContains(': 0 running, 0 waiting', $said, 'what it says');
    $job = Wait::until(static function () use ($ask): ?array {
        [$status, $said] = $ask('kqueue:jobs', '--failed', '--class=Throws', '--since=1h', '--json');

        return $status === 0 ? (json_decode((string) strstr($said, '{'), true)['jobs'][0] ?? null) : null;
    }, 'the job');
    $w->expectSame([$uuid, Throws::class, 1], [$job['uuid'], $job['class'], $job['attempt']], 'the job that failed');
    foreach (['kqueue:stats' => "CLASS\tRUNS", 'kqueue:pool' => "TIER\tPROCESSES", 'kqueue:tune' => 'too few for advice'] as $command => $text) {
        [$status, $said] = $ask($command);
        $w->expectSame(0, $status, "exit status of {$command}");
        $w->expectContains($text, $said, "what {$command} says");
    }
    [$status, $said] = $ask('kqueue:stats', '--since=yesterday');
    $w->expectSame(2, $status, 'exit status of what cannot be right');
    $w->expectContains("invalid value 'yesterday'", $said, 'what it says');
    $daemon = $w->startArtisan(['kqueue:status'], ['KQUEUE_BINARY' => 'no-such-program'] + $env($w));
    $w->expectSame(78, $daemon->wait(), 'exit status without kqueue');
    $w->expectContains("kqueue:status: no executable 'no-such-program'; install kqueue", $daemon->output(), 'what it says');
    // Within the app, the output is whose it was asked for.
    $w->laravel['config']->set('kqueue.binary', (string) realpath((string) getenv('KQUEUE_BIN')));
    $kernel = $w->laravel->make(\Illuminate\Contracts\Console\Kernel::class);
    $w->expectSame(0, $kernel->call('kqueue:status', ['--runtime-dir' => $run, '--json' => true]), 'exit status within the app');
    $w->expectSame('running', json_decode($kernel->output(), true)['state'] ?? null, 'the state');
}, engines: ['kqueue'], package: true);

row('package', 'the pages at /kqueue: kqueue\'s own, by the gate viewKqueue, and none where they are off', function (World $w): void {
    $w->start();
    $uuid = $w->dispatch(new Plain());
    $w->waitFor('end', 1);
    // A request of its own for each question, as a web server would start one.
    $program = <<<'PHP'
        require $argv[1] . '/vendor/autoload.php';
        $app = require $argv[1] . '/bootstrap/app.php';
        $http = Illuminate\Contracts\Http\Kernel::class;
        $app->bound($http) || $app->singleton($http, Illuminate\Foundation\Http\Kernel::class);
        $app->beforeBootstrapping(Illuminate\Foundation\Bootstrap\RegisterProviders::class, static function ($app) use ($argv): void {
            $app['config']->set('kqueue.control', $argv[2]);
            $app['config']->set('kqueue.dashboard', json_decode($argv[4], true));
            $argv[5] === '' || $app->detectEnvironment(static fn (): string => $argv[5]);
        });
        $response = $app->make($http)->handle(Illuminate\Http\Request::create($argv[3]));
        echo json_encode([$response->getStatusCode(), $response->headers->get('Content-Type'), $response->headers->get('Content-Security-Policy'), $response->getContent()], JSON_INVALID_UTF8_SUBSTITUTE);
        PHP;
    $get = static function (string $path, string $environment = 'local', ?array $dashboard = ['path' => 'kqueue', 'middleware' => []]) use ($w, $program): array {
        $line = [PHP_BINARY, '-d', 'error_reporting=8191', '-r', $program, '--', $w->sandbox->app, $w->sandbox->dir . '/run/control.sock', $path, json_encode($dashboard), $environment];
        $said = (string) shell_exec(implode(' ', array_map('escapeshellarg', $line)) . ' 2>&1');

        return json_decode($said, true, 8) ?? throw new Kqueue\Tests\Failure("{$path}: {$said}");
    };
    [$status, $type, $policy, $page] = $get('/kqueue');
    $w->expectSame([200, 'text/html; charset=utf-8'], [$status, $type], "the page: {$page}");
    $w->expectContains("default-src 'none'", $policy, 'its policy');
    $w->expectContains('href="/kqueue/jobs"', $page, 'its links');
    $w->expectSame(1, preg_match('#"(/kqueue/static/[^"]+\.css)"#', $page, $found), 'its stylesheet');
    $w->expectSame([200, 'text/css; charset=utf-8'], array_slice($get($found[1]), 0, 2), 'which is there');
    $w->expectContains($uuid, Wait::until(static fn (): ?string => str_contains($found = $get('/kqueue/jobs')[3], $uuid) ? $found : null, 'the job to be listed'), 'the job');
    $w->expectSame(404, $get('/kqueue/moon')[0], 'a page that there is not');
    $w->expectSame(403, $get('/kqueue', 'production')[0], 'in use, without a gate');
    $w->expectSame(404, $get('/kqueue', 'local', null)[0], 'where they are off');
}, engines: ['kqueue'], package: true);
