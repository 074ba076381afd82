<?php

declare(strict_types=1);

namespace Kqueue\Worker;

/**
 * Settings of the app that cannot work, by a name for which the runtime knows the fix. Each is listed in `BootFault` of
 * the protocol, src/core/wire/protocol.md.
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

    /**
     * The error that has ended PHP; null if there was none. The last error may be a suppressed one.
     *
     * @return array{type: int, message: string, file: string, line: int}|null
     */
    public static function fatal(): ?array
    {
        $error = error_get_last();

        return ($error['type'] ?? 0) & (E_ERROR | E_PARSE | E_CORE_ERROR | E_COMPILE_ERROR | E_USER_ERROR | E_RECOVERABLE_ERROR) ? $error : null;
    }

    /** The name of the fault behind an error at boot; null where it is the app's own. */
    public static function fault(string $path, ?\Throwable $error, bool $booted): ?string
    {
        return match (true) {
            $error instanceof self => $error->fault,
            // Then this is the cause, whatever has failed.
            ! $booted && is_file("{$path}/composer.json") && ! is_file("{$path}/vendor/autoload.php") => self::VENDOR,
            default => null,
        };
    }
}
