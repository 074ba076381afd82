<?php

/** Jobs that take all they can get, of memory or of processes, in each tier. */

declare(strict_types=1);

use App\Jobs\Includes;
use App\Jobs\Plain;
use Kqueue\Tests\Machine\Machine;

/** Starts processes until it may not, and ends them. */
const FORKS = <<<'PERL'
    my @all; my $left = 3000;
    while ($left--) { my $pid = fork; last unless defined $pid; if (!$pid) { sleep 60; exit } push @all, $pid }
    kill 'KILL', @all; waitpid $_, 0 for @all;
    open my $file, '>', $ARGV[0]; print $file scalar(@all);
    PERL;

/** Another app: a process in a slice of its own that starts a process again and again, and counts. */
$neighbour = static function (Machine $m): Closure {
    $loop = 'for ($i = 1; ; $i++) { exec("/bin/true", $out, $code); $code === 0 || exit(1); file_put_contents("/run/neighbour", $i); usleep(50000); }';
    $m->must('systemd-run --quiet --collect --unit=kqueue-test-neighbour --slice=kqueue-blog.slice ' . PHP_BINARY . ' -r ' . escapeshellarg($loop));
    $count = static fn (): int => (int) @file_get_contents('/run/neighbour');
    $m->waitFor(static fn (): bool => $count() > 0, 'the neighbour to be at work');

    return $count;
};

foreach (['inline', 'pooled', 'isolated'] as $tier) {
    row("bomb-{$tier}", "a job that takes all memory, and one that starts processes for ever, {$tier}: runtime, coordinator and neighbour do not feel it", function (Machine $m) use ($tier, $neighbour): void {
        $m->configure(['worker_memory_max' => '192M', 'isolated_memory_max' => '192M', 'isolated_tasks_max' => 200, 'timeout' => 600]);
        $m->dropIn('kqueue@shop.service', "[Service]\nTasksMax=200\n");
        $m->dropIn('kqueue-worker@.service', "[Service]\nTasksMax=200\n");
        $m->start();
        $m->must('systemctl start kqueue.service');
        $pids = static fn (): array => [$m->runtime()->pid(), $m->coordinator()->pid(), $m->unit('redis-server.service')->pid()];
        [$before, $count] = [$pids(), $neighbour($m)];
        $job = static function (string $code) use ($m, $tier): string {
            $file = '/srv/shop/storage/bomb-' . bin2hex(random_bytes(4)) . '.php';
            file_put_contents($file, "<?php\n{$code}\n");

            return $m->dispatch((new Includes($file, $tier))->with(['tries' => 1, 'timeout' => 600]));
        };

        // Held to the last byte by a program, not by PHP, which has a limit of its own.
        $uuid = $job('shell_exec("tail -c 3G /dev/zero >/dev/null"); throw new RuntimeException("its program has ended");');
        $exception = $m->waitForFailedJob($uuid, 60)['exception'];
        $m->expect((bool) preg_match('/oom-kill at \d+ MB|used \d+ MB of memory|its program has ended/', $exception), 'the job fails for it: ' . strtok($exception, "\n"));

        $file = '/srv/shop/storage/forks';
        @unlink($file);
        $job('shell_exec("perl -e " . escapeshellarg(' . var_export(FORKS, true) . ') . " ' . $file . '");');
        $m->waitFor(static fn (): bool => is_file($file), 'the bomb to have burnt out', 60);
        $m->expect((int) file_get_contents($file) < 200, 'processes that it could start: ' . file_get_contents($file));

        $next = $m->dispatch(new Plain());
        $m->waitForEffects('end', 1, $next, 60);
        $m->expectSame($before, $pids(), 'runtime, coordinator and Redis');
        $seen = $count();
        $m->waitFor(static fn (): bool => $count() > $seen, 'the neighbour to go on');
        $m->must('systemctl stop kqueue-test-neighbour.service');
    }, layers: ['vm']);
}
