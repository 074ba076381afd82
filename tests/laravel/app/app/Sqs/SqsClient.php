<?php

declare(strict_types=1);

namespace Aws\Sqs;

use App\Sqs\Refused;
use App\Sqs\Result;

/**
 * As much of the AWS SDK's client as Laravel's queue calls, where the SDK itself is not to be had: every call is one request in
 * the server's JSON protocol. Nothing is signed; the servers of tests do not look.
 *
 * @method Result receiveMessage(array<string, mixed> $parameters)
 * @method Result sendMessage(array<string, mixed> $parameters)
 * @method Result sendMessageBatch(array<string, mixed> $parameters)
 * @method Result deleteMessage(array<string, mixed> $parameters)
 * @method Result changeMessageVisibility(array<string, mixed> $parameters)
 * @method Result getQueueAttributes(array<string, mixed> $parameters)
 * @method Result purgeQueue(array<string, mixed> $parameters)
 */
class SqsClient
{
    /** @var \CurlHandle|null of this process: a fork has one of its own */
    private ?\CurlHandle $connection = null;

    private int $process = 0;

    /** @param array<string, mixed> $config of the queue connection */
    public function __construct(private readonly array $config)
    {
    }

    public function getRegion(): string
    {
        return (string) $this->config['region'];
    }

    public function getEndpoint(): string
    {
        return (string) ($this->config['endpoint'] ?? "https://sqs.{$this->config['region']}.amazonaws.com");
    }

    /** @param array<int, mixed> $arguments */
    public function __call(string $name, array $arguments): Result
    {
        if ($this->process !== getmypid()) {
            [$this->connection, $this->process] = [curl_init(), getmypid()];
        }
        curl_setopt_array($this->connection, [
            CURLOPT_URL => $this->getEndpoint() . '/',
            CURLOPT_POST => true,
            CURLOPT_POSTFIELDS => json_encode($arguments[0], JSON_THROW_ON_ERROR),
            CURLOPT_HTTPHEADER => [
                'Content-Type: application/x-amz-json-1.0',
                'X-Amz-Target: AmazonSQS.' . ucfirst($name),
                // By its scope the server knows which of its services is meant.
                "Authorization: AWS4-HMAC-SHA256 Credential=key/20260101/{$this->getRegion()}/sqs/aws4_request, SignedHeaders=host, Signature=none",
                'Expect:',
            ],
            CURLOPT_RETURNTRANSFER => true,
            CURLOPT_CONNECTTIMEOUT => 5,
            CURLOPT_TIMEOUT => 30,
        ]);
        $body = curl_exec($this->connection);
        $status = curl_getinfo($this->connection, CURLINFO_RESPONSE_CODE);
        if ($body === false || $status !== 200) {
            throw new Refused("{$name}: " . ($body === false ? curl_error($this->connection) : "HTTP {$status}: {$body}"));
        }

        return new Result(json_decode($body === '' ? '{}' : $body, true, 512, JSON_THROW_ON_ERROR));
    }
}
