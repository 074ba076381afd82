<?php

/** Finds the classes of the machine's harness, and those of the behaviour suite that it uses. */

declare(strict_types=1);

error_reporting(E_ALL & ~E_DEPRECATED & ~E_USER_DEPRECATED);

spl_autoload_register(static function (string $class): void {
    $dirs = ['Kqueue\\Tests\\Machine\\' => __DIR__ . '/harness/', 'Kqueue\\Tests\\' => dirname(__DIR__) . '/laravel/harness/'];
    $dirs += ['Kqueue\\Tests\\Machine\\Packaged' => dirname(__DIR__) . '/packages/harness/Packaged'];
    foreach ($dirs as $prefix => $dir) {
        if (str_starts_with($class, $prefix) && is_file($file = $dir . substr($class, strlen($prefix)) . '.php')) {
            require $file;

            return;
        }
    }
});
