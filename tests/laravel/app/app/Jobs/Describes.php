<?php

declare(strict_types=1);

namespace App\Jobs;

use App\Journal;

/** Says all that its process may have of whoever started it. */
class Describes extends Recorded
{
    protected function act(): void
    {
        $handler = set_error_handler(null);
        restore_error_handler();
        $thrown = set_exception_handler(null);
        restore_exception_handler();
        $status = file_get_contents('/proc/self/status');
        preg_match_all('/^(Sig(?:Blk|Ign|Cgt)|Umask|Uid|Gid|Groups|NoNewPrivs|Seccomp|Threads):[ \t]*(.*)$/m', $status, $found);
        $statistics = explode(' ', substr(strrchr(file_get_contents('/proc/self/stat'), ')'), 2));
        $own = getmypid();
        Journal::write('process', [
            'tag' => $this->tag,
            'status' => array_combine($found[1], $found[2]),
            'limits' => file('/proc/self/limits', FILE_IGNORE_NEW_LINES),
            'priority' => [pcntl_getpriority(), trim(file_get_contents('/proc/self/oom_score_adj'))],
            'terminal' => $statistics[4],
            'leads its group' => posix_getpgrp() === $own,
            'leads its session' => posix_getsid(0) === $own,
            'directory' => getcwd(),
            'descriptors' => self::descriptors(),
            'environment' => getenv(),
            'ENV' => $_ENV,
            'SERVER' => $_SERVER,
            'arguments' => [$GLOBALS['argv'], $GLOBALS['argc']],
            'ini' => ini_get_all(null, false),
            'constants' => get_defined_constants(true)['user'],
            'locale' => [setlocale(LC_ALL, '0'), date_default_timezone_get(), mb_internal_encoding()],
            'handlers' => [self::name($handler), self::name($thrown)],
            'autoload' => array_map(self::name(...), spl_autoload_functions()),
            'output buffers' => ob_get_level(),
            'asynchronous signals' => pcntl_async_signals(),
            'collects garbage' => gc_enabled(),
            'wrappers' => [stream_get_wrappers(), stream_get_filters(), get_include_path()],
            'standard streams' => array_map(static fn ($stream): array => [
                stream_get_meta_data($stream)['mode'], stream_get_meta_data($stream)['blocked'], stream_isatty($stream),
            ], [STDIN, STDOUT, STDERR]),
        ]);
    }

    private static function name(mixed $callback): string
    {
        return match (true) {
            $callback instanceof \Closure => 'closure of ' . basename((string) (new \ReflectionFunction($callback))->getFileName()),
            is_array($callback) => (is_object($callback[0]) ? $callback[0]::class : $callback[0]) . '::' . $callback[1],
            default => get_debug_type($callback),
        };
    }

    /** @return list<string> what is open beside the standard streams, without what is one process's own */
    private static function descriptors(): array
    {
        $open = [];
        $output = [@readlink('/proc/self/fd/1'), @readlink('/proc/self/fd/2')];
        foreach (scandir('/proc/self/fd') as $fd) {
            $link = (int) $fd > 2 ? @readlink("/proc/self/fd/{$fd}") : false;
            if ($link !== false && in_array($link, $output, true)) {
                $link = 'its output';
            }
            // Each has its script open, and sockets to different servers.
            if ($link !== false && ! str_starts_with($link, 'socket:') && realpath($link) !== get_included_files()[0]) {
                $open[] = preg_replace(['/\[\d+\]/', '/ \(deleted\)$/', '~^(/tmp/\.ZendSem)\..*~'], ['', '', '$1'], $link);
            }
        }
        sort($open);

        return $open;
    }
}
