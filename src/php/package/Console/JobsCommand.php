<?php

declare(strict_types=1);

namespace Kqueue\Console;

/** `kqueue jobs` for this app. */
final class JobsCommand extends AskCommand
{
    protected $signature = 'kqueue:jobs
        {app? : The app, by its name in /etc/kqueue; this one without}
        {--running : Those that run}
        {--waiting : Those that could run and do not yet}
        {--delayed : Those whose time has not come}
        {--recent : Those that have ended; the default}
        {--failed : Those that failed for good}
        {--class= : Of this class}
        {--queue= : Of this queue}
        {--tag= : With this tag}
        {--text= : With this in their uuid, class, queue, tags or cause}
        {--since= : Not older than this, such as 1h or 14:00}
        {--until= : That ended before this}
        {--limit= : At most so many}
        {--runtime-dir= : The directory of the app\'s sockets, if it is not where the app\'s name says}
        {--json : Print JSON}';

    protected $description = 'List jobs: those that run, wait, or have ended';
}
