<?php

declare(strict_types=1);

namespace Kqueue\Console;

/** `kqueue stats` for this app. */
final class StatsCommand extends AskCommand
{
    protected $signature = 'kqueue:stats
        {app? : The app, by its name in /etc/kqueue; this app if omitted}
        {--class= : Only this class}
        {--queue= : Only this queue}
        {--since= : From this time, such as 24h, 7d or 14:00}
        {--until= : Up to this time}
        {--all : List all classes}
        {--runtime-dir= : The directory of the app\'s sockets, if it is not the default one}
        {--json : Print JSON}';

    protected $description = 'Show statistics of jobs, by class and by queue';
}
