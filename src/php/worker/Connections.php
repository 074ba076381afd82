<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Illuminate\Contracts\Foundation\Application;
use Illuminate\Queue\Events\Looping;
use Throwable;

/**
 * Closes the connections of Laravel's own managers so that they reopen at their next use.
 *
 * Drivers are kept, except Redis connections: what the app has set on one while it booted (a fake, a sender, channels)
 * would be lost with it. What is still open after this is found by {@see Held}.
 */
final class Connections
{
    public static function close(Application $app): void
    {
        foreach ([self::log(...), self::mail(...), self::cache(...), self::redis(...), self::database(...)] as $close) {
            try {
                $close($app);
            } catch (Throwable) {
                // What is left open is found by Held.
            }
        }
    }

    /**
     * Flushes what packages have collected while the app booted, as any worker does between two jobs. Otherwise every
     * fork would store its copy again.
     */
    public static function flush(Application $app, string $connection, string $queue): void
    {
        $flushes = [
            static fn () => $app['events']->hasListeners(Looping::class) && $app['events']->dispatch(new Looping($connection, $queue)),
            static fn () => self::call($app, 'Laravel\Pulse\Pulse', 'ingest'),
            static fn () => self::call($app, 'Laravel\Nightwatch\Core', 'digest', 'ingest'),
            static fn () => class_exists('Laravel\Telescope\Telescope', false)
                && $app->bound('Laravel\Telescope\Contracts\EntriesRepository')
                && \Laravel\Telescope\Telescope::store($app->make('Laravel\Telescope\Contracts\EntriesRepository')),
            static fn () => class_exists('Sentry\Laravel\Integration', false) && \Sentry\Laravel\Integration::flushEvents(),
            static fn () => class_exists('OpenTelemetry\API\Globals', false) && self::forceFlush(
                \OpenTelemetry\API\Globals::tracerProvider(),
                \OpenTelemetry\API\Globals::meterProvider(),
            ),
        ];

        foreach ($flushes as $flush) {
            try {
                $flush();
            } catch (Throwable $e) {
                fwrite(STDERR, 'cannot store the data that packages collected while the app booted: '.$e->getMessage()."\n");
            }
        }
    }

    /** Calls the first of these methods that exists: their names differ between versions. */
    private static function call(Application $app, string $class, string ...$methods): void
    {
        foreach ($app->resolved($class) ? $methods : [] as $method) {
            if (method_exists($service = $app->make($class), $method)) {
                $service->{$method}();

                return;
            }
        }
    }

    private static function forceFlush(object ...$providers): void
    {
        foreach ($providers as $provider) {
            method_exists($provider, 'forceFlush') && $provider->forceFlush();
        }
    }

    private static function database(Application $app): void
    {
        if ($app->resolved('db')) {
            foreach ($app['db']->getConnections() as $connection) {
                $connection->disconnect();
            }
        }
    }

    private static function redis(Application $app): void
    {
        if ($app->resolved('redis')) {
            foreach ((array) $app['redis']->connections() as $name => $connection) {
                try {
                    $connection->disconnect();
                } catch (Throwable) {
                    // The connection is already gone.
                }
                $app['redis']->purge($name);
            }
        }
    }

    private static function cache(Application $app): void
    {
        foreach ($app->resolved('cache') ? self::inside($app['cache'], 'stores') : [] as $repository) {
            $store = $repository->getStore();
            method_exists($store, 'getMemcached') && $store->getMemcached()->quit();
        }
    }

    private static function mail(Application $app): void
    {
        foreach ($app->resolved('mail.manager') ? self::inside($app['mail.manager'], 'mailers') : [] as $mailer) {
            $transport = match (true) {
                method_exists($mailer, 'getSymfonyTransport') => $mailer->getSymfonyTransport(),
                // Laravel 8.
                method_exists($mailer, 'getSwiftMailer') => $mailer->getSwiftMailer()->getTransport(),
                default => null,
            };
            $transport !== null && method_exists($transport, 'stop') && $transport->stop();
        }
    }

    private static function log(Application $app): void
    {
        foreach ($app->resolved('log') ? $app['log']->getChannels() : [] as $channel) {
            $logger = method_exists($channel, 'getLogger') ? $channel->getLogger() : $channel;
            // A handler writes its buffer when it is closed, and reopens by itself.
            method_exists($logger, 'close') && $logger->close();
        }
    }

    /** @return array<mixed> */
    private static function inside(object $manager, string $property): array
    {
        return (fn (): array => isset($this->{$property}) ? (array) $this->{$property} : [])->call($manager);
    }
}
