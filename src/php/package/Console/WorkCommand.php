<?php

declare(strict_types=1);

namespace Kqueue\Console;

use Illuminate\Console\Command;

/**
 * `kqueue run` for those who are used to artisan: this process becomes it, so that signals, the exit code and the service
 * manager deal with kqueue itself.
 */
final class WorkCommand extends Command
{
    protected $signature = 'kqueue:work
        {connection? : The queue connection; the app\'s default one without it}
        {--queue= : Queues, in strict order}
        {--sleep= : Refused: kqueue does not poll}
        {--timeout= : Seconds that a job may run, where it does not say; 0 is without limit}
        {--memory= : MB of PHP\'s heap above which a worker is replaced after a job}
        {--max-jobs= : End after this many jobs}
        {--max-time= : End after this many seconds}
        {--inline : Run jobs inline that declare nothing else}
        {--smart : Let kqueue find out where jobs belong that declare nothing; the default}
        {--secure : Run jobs isolated that declare nothing else}
        {--as-root : Run jobs as root, where the app really is root\'s, as in a container of its own}';

    protected $description = 'Run the queues with kqueue';

    /** The options of `kqueue run` for ours. */
    private const SAME = ['queue' => 'queues', 'timeout' => 'timeout', 'memory' => 'worker-memory', 'max-jobs' => 'max-jobs', 'max-time' => 'max-time'];

    private const TIERS = ['inline' => 'inline', 'smart' => 'auto', 'secure' => 'isolated'];

    /** What kqueue says of a wrong command line, and of settings that cannot work. */
    private const USAGE = 2;

    private const CONFIG = 78;

    public function handle(): int
    {
        if ($this->option('sleep') !== null) {
            return $this->refuse('--sleep: kqueue does not poll, a job starts as soon as it is dispatched; leave it out', self::USAGE);
        }

        $tiers = array_filter(self::TIERS, fn (string $option): bool => (bool) $this->option($option), ARRAY_FILTER_USE_KEY);

        if (count($tiers) > 1) {
            return $this->refuse('--'.implode(' and --', array_keys($tiers)).': each says where jobs run that declare nothing; give one', self::USAGE);
        }

        $connection = $this->argument('connection');

        if ($connection !== null && ! is_array(config("queue.connections.{$connection}"))) {
            return $this->refuse("no queue connection named '{$connection}' in config/queue.php", self::USAGE);
        }

        $binary = $this->find((string) config('kqueue.binary'));

        if ($binary === null) {
            return $this->refuse("no program '".config('kqueue.binary')."' that can be run; install kqueue, or say where it is: KQUEUE_BINARY", self::CONFIG);
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
            $command = implode(' ', array_map('escapeshellarg', [$binary, ...$arguments]));

            return $this->refuse("this PHP cannot become another program (pcntl_exec); run: {$command}", self::CONFIG);
        }

        pcntl_exec($binary, $arguments, $this->environment());

        return $this->refuse("{$binary}: ".pcntl_strerror(pcntl_get_last_error()), self::CONFIG);
    }

    private function find(string $binary): ?string
    {
        $places = str_contains($binary, '/')
            ? [$binary]
            : array_map(static fn (string $place): string => "{$place}/{$binary}", explode(':', (string) getenv('PATH')));

        foreach ($places as $place) {
            if ($binary !== '' && is_file($place) && is_executable($place)) {
                return $place;
            }
        }

        return null;
    }

    /**
     * As it was when PHP started. By now the values of `.env` are in it: kqueue would hand them on to every process, and
     * no change of the file would count any more.
     *
     * @return array<string, string>
     */
    private function environment(): array
    {
        $environment = [];

        foreach (explode("\0", (string) @file_get_contents('/proc/self/environ'), -1) as $variable) {
            [$name, $value] = explode('=', $variable, 2) + [1 => ''];
            $environment[$name] = $value;
        }

        return $environment ?: getenv();
    }

    private function refuse(string $why, int $code): int
    {
        $this->getOutput()->getErrorStyle()->writeln("kqueue:work: {$why}");

        return $code;
    }
}
