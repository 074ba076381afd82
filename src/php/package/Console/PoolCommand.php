<?php

declare(strict_types=1);

namespace Kqueue\Console;

/** `kqueue pool` for this app. */
final class PoolCommand extends AskCommand
{
    protected $signature = 'kqueue:pool
        {app? : The app, by its name in /etc/kqueue; this app if omitted}
        {--runtime-dir= : The directory of the app\'s sockets, if it is not the default one}
        {--json : Print JSON}';

    protected $description = 'Show the PHP processes and their settings';
}
