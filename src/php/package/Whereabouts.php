<?php

declare(strict_types=1);

namespace Kqueue;

use Illuminate\Contracts\Foundation\Application;

/**
 * Where the sockets of this app's kqueue may be.
 */
final class Whereabouts
{
    /** The name of this app: as its settings say, or as kqueue names one in this directory. */
    public static function name(Application $app): string
    {
        $name = $app['config']['kqueue.app'];

        return is_string($name) && $name !== '' ? $name : self::of($app->basePath());
    }

    /** @return list<string> where kqueue has the directories of its apps: as a service, and as our own user by hand */
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
