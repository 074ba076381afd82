<?php

declare(strict_types=1);

namespace Kqueue\Tests;

/** Queues of SQS, on a server that emulates it. Each app has its own, by the suffix of their names. */
final class SqsService extends Service
{
    public const DRIVER = 'sqs';

    public const TITLE = 'SQS';

    /** Why a row does not apply to SQS, by its number or a part of its title. */
    private const ABSENT = [
        'release() and throw on the last try' => 'a job that is released is the same message, which goes when the job is failed',
    ];

    public function excludes(Row $row): ?string
    {
        return NativeRows::among(self::ABSENT, $row);
    }

    public function start(string $dir): ?Server
    {
        return SqsServer::start($dir);
    }

    public function settings(string $name, ?Server $server): array
    {
        return [
            'AWS_ACCESS_KEY_ID' => 'key',
            'AWS_SECRET_ACCESS_KEY' => 'secret',
            'SQS_ENDPOINT' => $server->url(),
            'SQS_PREFIX' => $server->url() . '/' . SqsServer::ACCOUNT,
            'SQS_SUFFIX' => "-{$name}",
            'CACHE_STORE' => 'file',
        ];
    }

    /** Laravel uses the whole URL of a queue as its name. */
    public function plain(Sandbox $sandbox, string $text): string
    {
        return str_replace([$sandbox->env('SQS_PREFIX', '') . '/', $sandbox->env('SQS_SUFFIX', '')], '', $text);
    }

    public function backend(Sandbox $sandbox): Backend
    {
        return new SqsBackend($sandbox->server, $sandbox->env('SQS_SUFFIX', ''), $sandbox);
    }
}
