<?php

declare(strict_types=1);

namespace Kqueue\Console;

use Illuminate\Console\Command;

/**
 * `kqueue run` as an artisan command: this process is replaced by it, so that signals, the exit code and the service
 * manager deal with kqueue itself.
 */
final class WorkCommand extends Command
{
    protected $signature = 'kqueue:work
        {connection? : The queue connection; the app\'s default if omitted}
        {--queue= : Queues, in strict order}
        {--sleep= : Not supported: kqueue does not poll}
        {--timeout= : Timeout in seconds of jobs that declare none; 0 is without limit}
        {--memory= : MB of PHP\'s heap above which a worker is replaced after a job}
        {--max-jobs= : Exit after this many jobs}
        {--max-time= : Exit after this many seconds}
        {--inline : Run jobs inline unless they declare otherwise}
        {--smart : Let kqueue choose the tier of jobs that declare nothing; the default}
        {--secure : Run jobs isolated unless they declare otherwise}
        {--as-root : Run jobs as root, for an app that belongs to root, as in a container of its own}';

    protected $description = 'Run the queues with kqueue';

    /** Options of this command, and those of `kqueue run` for them. */
    private const SAME = ['queue' => 'queues', 'timeout' => 'timeout', 'memory' => 'worker-memory', 'max-jobs' => 'max-jobs', 'max-time' => 'max-time'];

    private const TIERS = ['inline' => 'inline', 'smart' => 'auto', 'secure' => 'isolated'];

    public function handle(): int
    {
        if ($this->option('sleep') !== null) {
            return $this->refuse('--sleep: kqueue does not poll: a job starts as soon as it is dispatched; leave it out', Program::USAGE);
        }

        $tiers = array_filter(self::TIERS, fn (string $option): bool => (bool) $this->option($option), ARRAY_FILTER_USE_KEY);

        if (count($tiers) > 1) {
            return $this->refuse('--'.implode(' and --', array_keys($tiers)).': each sets the default tier; give only one', Program::USAGE);
        }

        $connection = $this->argument('connection');

        if ($connection !== null && ! is_array(config("queue.connections.{$connection}"))) {
            return $this->refuse("no queue connection named '{$connection}' in config/queue.php", Program::USAGE);
        }

        $binary = Program::find((string) config('kqueue.binary'));

        if ($binary === null) {
            return $this->refuse(Program::absent((string) config('kqueue.binary')), Program::CONFIG);
        }

        $arguments = ['run', '--path='.$this->laravel->basePath()];
        PHP_BINARY === '' || $arguments[] = '--php='.PHP_BINARY;
        $connection === null || $arguments[] = "--connection={$connection}";

        foreach (self::SAME as $ours => $theirs) {
            $value = $this->option($ours);
            $value === null || $arguments[] = "--{$theirs}={$value}";
        }

        $this->option('as-root') && $arguments[] = '--as-root';

        foreach ($tiers as $tier) {
            $arguments[] = "--default-tier={$tier}";
        }

        if (! function_exists('pcntl_exec')) {
            $command = Program::line($binary, ...$arguments);

            return $this->refuse("this PHP does not provide pcntl_exec; run: {$command}", Program::CONFIG);
        }

        pcntl_exec($binary, $arguments, Program::environment());

        return $this->refuse("{$binary}: ".pcntl_strerror(pcntl_get_last_error()), Program::CONFIG);
    }

    private function refuse(string $why, int $code): int
    {
        $this->getOutput()->getErrorStyle()->writeln("kqueue:work: {$why}");

        return $code;
    }
}
