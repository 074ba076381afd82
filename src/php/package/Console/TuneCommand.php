<?php

declare(strict_types=1);

namespace Kqueue\Console;

/** `kqueue tune` for this app. */
final class TuneCommand extends AskCommand
{
    protected $signature = 'kqueue:tune
        {app? : The app, by its name in /etc/kqueue; this app if omitted}
        {--since= : Use figures from this time on, such as 7d}
        {--write : Write the advised lines into the app\'s config file}
        {--yes : Write without confirmation}
        {--runtime-dir= : The directory of the app\'s sockets, if it is not the default one}
        {--json : Print JSON}';

    protected $description = 'Advise better settings, each with its evidence';
}
