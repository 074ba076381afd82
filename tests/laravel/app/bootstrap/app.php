<?php

/**
 * One app for Laravel 8 to 13: the new shape where the framework has it (11 and later), else the old one.
 */

declare(strict_types=1);

use App\Exceptions\Handler;
use App\Journal;
use Illuminate\Contracts\Console\Kernel;
use Illuminate\Contracts\Debug\ExceptionHandler;
use Illuminate\Foundation\Application;
use Illuminate\Foundation\Configuration\Exceptions;

error_reporting(E_ALL & ~E_DEPRECATED & ~E_USER_DEPRECATED);

spl_autoload_register(static function (string $class): void {
    if (str_starts_with($class, 'App\\')) {
        $file = dirname(__DIR__) . '/app/' . strtr(substr($class, 4), '\\', '/') . '.php';
        is_file($file) && require $file;
    } elseif ($class === 'Aws\\Sqs\\SqsClient') {
        require dirname(__DIR__) . '/app/Sqs/SqsClient.php';
    }
});

$path = dirname(__DIR__);

if (is_file($path . '/broken-boot')) {
    throw new RuntimeException('this app does not boot');
}

while (getenv('KQUEUE_TEST_ENDLESS') !== false && is_file($path . '/endless-boot')) {
    sleep(1);
}

if (method_exists(Application::class, 'configure')) {
    $app = Application::configure(basePath: $path)
        ->withProviders([], withBootstrapProviders: false)
        ->withCommands([])
        ->withExceptions(static function (Exceptions $exceptions): void {
            $exceptions->report(Journal::report(...));
            // 13.17 and later: an exception that no retry can mend.
            if (method_exists($exceptions, 'dontRetry')) {
                $exceptions->dontRetry([App\Exceptions\Hopeless::class]);
            }
        })
        ->create();
} else {
    $app = new Application($path);
    $app->singleton(Kernel::class, App\Console\Kernel::class);
    $app->singleton(ExceptionHandler::class, Handler::class);
}

// All configuration is in config/: the framework's default files are not where Debian's package looks for them.
if (method_exists($app, 'dontMergeFrameworkConfiguration')) {
    $app->dontMergeFrameworkConfiguration();
}

return $app;
