<?php

declare(strict_types=1);

namespace Kqueue\Console;

/** `kqueue tune` for this app. */
final class TuneCommand extends AskCommand
{
    protected $signature = 'kqueue:tune
        {app? : The app, by its name in /etc/kqueue; this one without}
        {--since= : Figures from this time on, such as 7d}
        {--write : Write the lines that belong into the app\'s config file}
        {--yes : Do not ask before that}
        {--runtime-dir= : The directory of the app\'s sockets, if it is not where the app\'s name says}
        {--json : Print JSON}';

    protected $description = 'Say which settings would do better, and why';
}
