<?php

declare(strict_types=1);

namespace Kqueue\Console;

use Illuminate\Console\Command;
use Symfony\Component\Console\Output\ConsoleOutputInterface;
use Symfony\Component\Console\Output\OutputInterface;

/**
 * A command of `kqueue` that queries a runtime, as an artisan command: same options, output and exit code. Without an
 * app it is about this one.
 */
abstract class AskCommand extends Command
{
    public function handle(): int
    {
        $binary = Program::find((string) config('kqueue.binary'));

        if ($binary === null) {
            return $this->refuse(Program::absent((string) config('kqueue.binary')));
        }

        $arguments = $this->words();

        if (! function_exists('proc_open')) {
            $command = Program::line($binary, ...$arguments);

            return $this->refuse("this PHP does not provide proc_open; run: {$command}");
        }

        $output = $this->getOutput()->getOutput();

        return $output instanceof ConsoleOutputInterface
            ? $this->become($binary, $arguments)
            : $this->collect($binary, $arguments);
    }

    /** @return list<string> */
    private function words(): array
    {
        $words = [substr((string) $this->getName(), strlen('kqueue:'))];
        $app = $this->argument('app') ?? config('kqueue.app');
        $words[] = $app === null ? '--path='.$this->laravel->basePath() : (string) $app;

        foreach ($this->getNativeDefinition()->getOptions() as $option) {
            $value = $this->option($option->getName());

            if ($option->acceptValue()) {
                $value === null || $words[] = "--{$option->getName()}={$value}";
            } elseif ($value === true) {
                $words[] = "--{$option->getName()}";
            }
        }

        return $words;
    }

    /**
     * Runs the program on this command's terminal.
     *
     * @param  list<string>  $arguments
     */
    private function become(string $binary, array $arguments): int
    {
        $process = proc_open([$binary, ...$arguments], [STDIN, STDOUT, STDERR], $pipes, null, $this->environment());

        return $process === false ? $this->refuse("{$binary} cannot be started") : proc_close($process);
    }

    /**
     * Runs the program and writes its output to the command's own (`Artisan::call`); its errors, if there is no output.
     *
     * @param  list<string>  $arguments
     */
    private function collect(string $binary, array $arguments): int
    {
        // A file: with two pipes, of which only one is read, the program could block on the other.
        $errors = tmpfile();
        $nothing = ['file', '/dev/null', 'r'];
        $process = proc_open([$binary, ...$arguments], [$nothing, ['pipe', 'w'], $errors], $pipes, null, $this->environment());

        if ($process === false) {
            return $this->refuse("{$binary} cannot be started");
        }

        $said = (string) stream_get_contents($pipes[1]);
        fclose($pipes[1]);
        $code = proc_close($process);
        rewind($errors);
        $said !== '' || $said = (string) stream_get_contents($errors);
        $this->getOutput()->getOutput()->write($said, false, OutputInterface::OUTPUT_RAW);

        return $code;
    }

    /** @return array<string, string> */
    private function environment(): array
    {
        $environment = Program::environment();

        return $this->getOutput()->isDecorated() ? $environment : ['NO_COLOR' => '1'] + $environment;
    }

    private function refuse(string $why): int
    {
        $this->getOutput()->getErrorStyle()->writeln("{$this->getName()}: {$why}");

        return Program::CONFIG;
    }
}
