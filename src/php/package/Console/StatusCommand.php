<?php

declare(strict_types=1);

namespace Kqueue\Console;

/** `kqueue status` for this app. */
final class StatusCommand extends AskCommand
{
    protected $signature = 'kqueue:status
        {app? : The app, by its name in /etc/kqueue; this one without}
        {--watch : Look again every two seconds}
        {--runtime-dir= : The directory of the app\'s sockets, if it is not where the app\'s name says}
        {--json : Print JSON}';

    protected $description = 'Show what runs and waits';
}
