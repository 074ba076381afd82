<?php

declare(strict_types=1);

namespace Kqueue;

use Illuminate\Contracts\Foundation\Application;

/**
 * Where the sockets of this app's kqueue may be.
 */
final class Whereabouts
{
    /** The name of this app: from its settings, or derived from its directory as kqueue does. */
    public static function name(Application $app): string
    {
        $name = $app['config']['kqueue.app'];

        return is_string($name) && $name !== '' ? $name : self::of($app->basePath());
    }

    /** @return list<string> parents of the apps' runtime directories: as a service, and by hand as this user */
    public static function places(): array
    {
        if (! function_exists('posix_geteuid')) {
            return ['/run/kqueue'];
        }

        $user = posix_geteuid();

        $home = posix_getpwuid($user)['dir'] ?? '/';

        return ['/run/kqueue', "/run/user/{$user}/kqueue", "{$home}/.local/state/kqueue/.run", "/tmp/kqueue-{$user}"];
    }

    /** The name that kqueue gives to an app in this directory. */
    private static function of(string $path): string
    {
        return substr(ltrim((string) preg_replace('/[^a-z0-9]/', '_', strtolower(basename($path))), '_'), 0, 32);
    }
}
