<?php

declare(strict_types=1);

namespace Kqueue\Http;

use Closure;
use Illuminate\Contracts\Auth\Access\Gate;
use Illuminate\Contracts\Foundation\Application;
use Illuminate\Http\Request;

/**
 * Whoever works on the app may see its pages; where it is in use, who passes the gate `viewKqueue`: nobody, unless the app
 * says who.
 */
final class Authorize
{
    public function __construct(private Application $app)
    {
    }

    /** @return mixed */
    public function handle(Request $request, Closure $next)
    {
        abort_unless($this->passes('viewKqueue'), 403);

        return $next($request);
    }

    /** Whether whoever asks may act from the pages: who passes the gate `actKqueue` besides. */
    public function mayAct(): bool
    {
        return $this->passes('viewKqueue') && $this->passes('actKqueue');
    }

    private function passes(string $gate): bool
    {
        return $this->app->environment('local') || ($this->app->bound(Gate::class) && $this->app->make(Gate::class)->check($gate));
    }
}
