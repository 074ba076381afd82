<?php

declare(strict_types=1);

namespace Kqueue\Console;

/** `kqueue status` for this app. */
final class StatusCommand extends AskCommand
{
    protected $signature = 'kqueue:status
        {app? : The app, by its name in /etc/kqueue; this app if omitted}
        {--watch : Refresh every two seconds}
        {--runtime-dir= : The directory of the app\'s sockets, if it is not the default one}
        {--json : Print JSON}';

    protected $description = 'Show the status of the app: running and waiting jobs, workers, queues';
}
