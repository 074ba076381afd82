<?php

declare(strict_types=1);

namespace Kqueue\Tests;

use Aws\Sqs\SqsClient;

/** The messages of SQS, through the test interface of its server. */
final class SqsBackend implements Backend
{
    public function __construct(private readonly SqsServer $server, private readonly string $suffix, private readonly Sandbox $sandbox)
    {
    }

    public function state(string $queue = 'default'): QueueState
    {
        $messages = ['ready' => [], 'delayed' => [], 'reserved' => []];
        foreach ($this->server->ask($this->name($queue)) as ['state' => $state, 'body' => $body, 'attempts' => $attempts, 'due' => $due]) {
            $messages[$state][] = ['payload' => $body, 'attempts' => $attempts, 'due' => $due];
        }

        return new QueueState(...$messages);
    }

    public function makeDue(string $queue = 'default'): void
    {
        $this->server->ask($this->name($queue), ['do' => 'due']);
    }

    public function expireLeases(string $queue = 'default'): void
    {
        $this->server->ask($this->name($queue), ['do' => 'expire']);
    }

    public function dropLeases(string $queue = 'default'): void
    {
        $this->server->ask($this->name($queue), ['do' => 'drop']);
    }

    public function setAttempts(int $attempts, string $queue = 'default'): void
    {
        $this->server->ask($this->name($queue), ['do' => 'count', 'to' => $attempts]);
    }

    public function push(string $payload, string $queue = 'default'): void
    {
        $this->send($queue, ['MessageBody' => $payload]);
    }

    /** Puts a job into a message group of a FIFO queue. */
    public function pushToGroup(string $payload, string $queue, string $group): void
    {
        $this->send($queue, ['MessageBody' => $payload, 'MessageGroupId' => $group, 'MessageDeduplicationId' => uniqid('', true)]);
    }

    /** @param array<string, string> $message */
    private function send(string $queue, array $message): void
    {
        $client = new SqsClient(['region' => 'us-east-1', 'endpoint' => $this->server->url()]);
        $client->sendMessage(['QueueUrl' => $this->server->url() . '/' . SqsServer::ACCOUNT . '/' . $this->name($queue)] + $message);
    }

    public function leftovers(): array
    {
        return array_values(array_filter($this->names(), fn (string $name): bool => $this->server->ask($name) !== []));
    }

    public function queues(): array
    {
        return array_map(fn (string $name): string => str_replace($this->suffix, '', $name), $this->leftovers());
    }

    public function cacheKeys(array $known = []): array
    {
        return (new DatabaseBackend($this->sandbox))->cacheKeys($known);
    }

    /** @return list<string> of the app's queues, as the server has them */
    private function names(): array
    {
        return array_values(array_filter($this->server->ask(), fn (string $name): bool => str_contains($name, $this->suffix)));
    }

    private function name(string $queue): string
    {
        return str_ends_with($queue, '.fifo') ? substr($queue, 0, -5) . "{$this->suffix}.fifo" : $queue . $this->suffix;
    }
}
