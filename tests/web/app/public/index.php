<?php

/** The app as a web server runs it. Who says to be an operator is one: the app has no users. */

declare(strict_types=1);

use Illuminate\Auth\AuthServiceProvider;
use Illuminate\Auth\GenericUser;
use Illuminate\Contracts\Auth\Access\Gate;
use Illuminate\Contracts\Http\Kernel;
use Illuminate\Foundation\Http\Kernel as HttpKernel;
use Illuminate\Http\Request;

require dirname(__DIR__) . '/vendor/autoload.php';
$app = require dirname(__DIR__) . '/bootstrap/app.php';
$app->bound(Kernel::class) || $app->singleton(Kernel::class, HttpKernel::class);
$app->booted(static function ($app): void {
    $app->register(AuthServiceProvider::class);
    $app['config']->set('auth', ['defaults' => ['guard' => 'web'], 'guards' => ['web' => ['driver' => 'header']]]);
    $app['auth']->viaRequest('header', static fn (Request $request): ?GenericUser => $request->hasHeader('X-User') ? new GenericUser(['id' => $request->header('X-User')]) : null);
    $app->make(Gate::class)->define('viewKqueue', static fn (GenericUser $user): bool => in_array($user->getAuthIdentifier(), ['operator', 'viewer'], true));
    $app->make(Gate::class)->define('actKqueue', static fn (GenericUser $user): bool => $user->getAuthIdentifier() === 'operator');
});
$kernel = $app->make(Kernel::class);
$response = $kernel->handle($request = Request::capture());
$response->send();
$kernel->terminate($request, $response);
