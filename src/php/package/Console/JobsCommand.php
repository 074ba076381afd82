<?php

declare(strict_types=1);

namespace Kqueue\Console;

/** `kqueue jobs` for this app. */
final class JobsCommand extends AskCommand
{
    protected $signature = 'kqueue:jobs
        {app? : The app, by its name in /etc/kqueue; this app if omitted}
        {--running : Running jobs}
        {--waiting : Jobs that could run but have not started}
        {--delayed : Jobs that are not due yet}
        {--recent : Jobs that have ended; the default}
        {--failed : Permanently failed jobs}
        {--class= : Only this class}
        {--queue= : Only this queue}
        {--tag= : Only jobs with this tag}
        {--text= : Only jobs with this text in their uuid, class, queue, tags or cause}
        {--since= : Only jobs since this time, such as 1h or 14:00}
        {--until= : Only jobs that ended before this time}
        {--limit= : At most this many jobs}
        {--runtime-dir= : The directory of the app\'s sockets, if it is not the default one}
        {--json : Print JSON}';

    protected $description = 'List running, waiting, delayed or ended jobs';
}
