<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Illuminate\Contracts\Foundation\Application;
use Illuminate\Contracts\Queue\Queue;
use Illuminate\Queue\Jobs\Job;
use Illuminate\Queue\Jobs\SqsJob;
use Illuminate\Queue\SqsQueue;

/**
 * Queues of SQS. A JOB frame's header has in `row` the `message`, without its body.
 */
final class SqsDriver extends Driver
{
    public const QUEUE = SqsQueue::class;

    public const JOBS = [SqsJob::class];

    public function describe(Application $app, array $fields): array
    {
        $sqs = $fields['sqs'];
        $config = (array) $app['config']->get('queue.connections.'.($fields['connectionName'] ?? ''), []);

        return [
            'driver' => 'sqs',
            // From the client, which has read the environment and the profile, too.
            'region' => (string) (method_exists($sqs, 'getRegion') ? $sqs->getRegion() : $config['region'] ?? ''),
            'endpoint' => (string) (method_exists($sqs, 'getEndpoint') ? $sqs->getEndpoint() : $config['endpoint'] ?? ''),
            'prefix' => (string) ($fields['prefix'] ?? ''),
            'suffix' => (string) ($fields['suffix'] ?? ''),
            'profile' => ((string) ($config['profile'] ?? getenv('AWS_PROFILE'))) ?: null,
        ] + self::credentials($config);
    }

    public function job(Application $app, Queue $queue, string $connection, array $order, string $payload, string $receipt, bool $ours): Job
    {
        $class = $ours ? RuntimeSqsJob::class : SqsJob::class;
        $message = $order['row']['message'] + ['Body' => $payload];
        // Laravel 13.9 and later keep large payloads elsewhere; earlier ones have no such argument.
        $overflow = (fn (): array => $this->overflowStorage ?? [])->call($queue);

        return new $class($app, $queue->getSqs(), $message, $connection, $queue->getQueue($order['queue']), $overflow);
    }

    public function lacks(\ArrayAccess $config, array $settings): ?string
    {
        return class_exists('Aws\Sqs\SqsClient') ? null : 'aws/aws-sdk-php';
    }

    /**
     * The credentials as Laravel's connector makes them from the settings, and the SDK's fallbacks as far as only PHP
     * knows them: the app's `.env` may have keys that the environment does not.
     *
     * @param array<string, mixed> $config
     * @return array<string, string|null>
     */
    private static function credentials(array $config): array
    {
        $given = $config['credentials'] ?? null;
        $provider = is_array($given) ? $given['provider'] ?? null : $given;
        // Static keys may also be an object of the SDK, or an array.
        $keys = match (true) {
            is_object($given) && method_exists($given, 'getAccessKeyId') => [$given->getAccessKeyId(), $given->getSecretKey(), $given->getSecurityToken()],
            is_array($given) && isset($given['key'], $given['secret']) => [$given['key'], $given['secret'], $given['token'] ?? null],
            $provider !== null => null,
            ! empty($config['key']) && ! empty($config['secret']) => [$config['key'], $config['secret'], $config['token'] ?? null],
            default => [getenv('AWS_ACCESS_KEY_ID'), getenv('AWS_SECRET_ACCESS_KEY'), getenv('AWS_SESSION_TOKEN')],
        };

        if ($keys !== null) {
            [$key, $secret, $token] = array_map(static fn ($text): ?string => ((string) $text) ?: null, $keys);

            return $key !== null && $secret !== null ? compact('key', 'secret', 'token') : [];
        }

        return ['provider' => is_string($provider) ? $provider : get_debug_type($provider)];
    }
}
