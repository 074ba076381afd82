<?php

declare(strict_types=1);

namespace Kqueue\Http;

use Illuminate\Http\Request;
use Illuminate\Http\Response;
use Kqueue\Control;
use RuntimeException;

/**
 * The pages of kqueue, as it makes them.
 */
final class Dashboard
{
    public function __construct(private Control $control)
    {
    }

    public function __invoke(Request $request, string $page = ''): Response
    {
        try {
            $told = $this->control->ask([
                'ask' => 'page',
                'path' => $page,
                'query' => (string) $request->server('QUERY_STRING'),
                'base' => (string) parse_url(url(config('kqueue.dashboard.path')), PHP_URL_PATH),
            ]);
        } catch (RuntimeException $trouble) {
            return new Response("kqueue cannot be asked: {$trouble->getMessage()}\n", 503, ['Content-Type' => 'text/plain; charset=utf-8']);
        }

        return new Response((string) ($told['body'] ?? ''), (int) ($told['status'] ?? 500), ['Content-Type' => (string) ($told['type'] ?? 'text/plain')] + (array) ($told['headers'] ?? []));
    }
}
