<?php

declare(strict_types=1);

namespace Kqueue\Http;

use Illuminate\Http\Request;
use Illuminate\Http\Response;
use Kqueue\Control;
use RuntimeException;

/**
 * The dashboard: passes on the pages that kqueue makes.
 */
final class Dashboard
{
    /** Maximum size of a form, in bytes. */
    private const LARGEST = 48 << 10;

    public function __construct(private Control $control, private Authorize $authorize)
    {
    }

    public function __invoke(Request $request, string $page = ''): Response
    {
        return $this->ask([
            'ask' => 'page',
            'path' => $page,
            'query' => (string) $request->server('QUERY_STRING'),
            'token' => $this->authorize->mayAct() ? (string) ($request->hasSession() ? $request->session()->token() : '') : null,
        ]);
    }

    /** Handles a form of one of the pages. */
    public function act(Request $request, string $deed): Response
    {
        abort_unless($this->authorize->mayAct() && $this->isOwn($request) && strlen((string) $request->getContent()) <= self::LARGEST, 403);
        $user = $request->user();

        return $this->ask([
            'ask' => 'form',
            'deed' => $deed,
            'fields' => (string) $request->getContent(),
            'by' => $user === null ? '' : (string) ($user->email ?? $user->getAuthIdentifier()),
        ]);
    }

    /** Whether the browser says that a page of this site sends the request; a check that needs no middleware. */
    private function isOwn(Request $request): bool
    {
        $site = $request->headers->get('Sec-Fetch-Site');

        return $site === null ? $request->headers->get('Origin') === $request->getSchemeAndHttpHost() : $site === 'same-origin';
    }

    /** @param array<string, mixed> $what */
    private function ask(array $what): Response
    {
        try {
            $told = $this->control->ask($what + ['base' => (string) parse_url(url(config('kqueue.dashboard.path')), PHP_URL_PATH)]);
        } catch (RuntimeException $trouble) {
            return new Response("the request to kqueue failed: {$trouble->getMessage()}\n", 503, ['Content-Type' => 'text/plain; charset=utf-8']);
        }

        return new Response((string) ($told['body'] ?? ''), (int) ($told['status'] ?? 500), ['Content-Type' => (string) ($told['type'] ?? 'text/plain')] + (array) ($told['headers'] ?? []));
    }
}
