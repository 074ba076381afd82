<?php

declare(strict_types=1);

namespace Kqueue\Worker;

/**
 * Settings of the app that cannot work, by a name for which the runtime knows the fix. Each is listed in `BootFault` of the
 * runtime's `wire` module.
 */
final class Misconfigured extends \RuntimeException
{
    public const VENDOR = 'vendor';
    public const CONNECTION = 'connection';
    public const DATABASE_FILE = 'database-file';

    public function __construct(public readonly string $fault, string $message)
    {
        parent::__construct($message);
    }

    /** The name of the fault behind an error at boot; null where it is the app's own. */
    public static function fault(string $path, ?\Throwable $error, bool $booted): ?string
    {
        return match (true) {
            $error instanceof self => $error->fault,
            // Then it is this, whatever has failed for want of it.
            ! $booted && is_file("{$path}/composer.json") && ! is_file("{$path}/vendor/autoload.php") => self::VENDOR,
            default => null,
        };
    }
}
