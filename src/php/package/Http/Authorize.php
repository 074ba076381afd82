<?php

declare(strict_types=1);

namespace Kqueue\Http;

use Closure;
use Illuminate\Contracts\Auth\Access\Gate;
use Illuminate\Contracts\Foundation\Application;
use Illuminate\Http\Request;

/**
 * Access to the dashboard: in the environment `local` for everybody, else for users who pass the gate `viewKqueue`.
 * Without the gate, nobody passes.
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

    /** Whether the user may use the forms of the pages: requires the gate `actKqueue`, too. */
    public function mayAct(): bool
    {
        return $this->passes('viewKqueue') && $this->passes('actKqueue');
    }

    private function passes(string $gate): bool
    {
        return $this->app->environment('local') || ($this->app->bound(Gate::class) && $this->app->make(Gate::class)->check($gate));
    }
}
