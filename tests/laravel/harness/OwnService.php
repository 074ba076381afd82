<?php

declare(strict_types=1);

namespace Kqueue\Tests;

/** A queue class of the app's own, for which kqueue has no backend: its workers pop by themselves. It uses SQLite. */
final class OwnService extends Service
{
    public const DRIVER = 'own';

    public const TITLE = "the app's own class";

    public function isNative(): bool
    {
        return true;
    }

    public function excludes(Row $row): ?string
    {
        return str_contains($row->title, 'queue:clear') ? 'the class cannot be cleared' : NativeRows::excludes($row);
    }

    public function settings(string $name, ?Server $server): array
    {
        return ['CACHE_STORE' => 'file'];
    }

    public function backend(Sandbox $sandbox): Backend
    {
        return new DatabaseBackend($sandbox);
    }
}
