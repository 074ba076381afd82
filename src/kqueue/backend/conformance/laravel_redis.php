<?php

// Pops a number of jobs, or runs `all` there are, with Laravel's own Redis queue, then pushes one.
// Arguments: socket, prefix, queue to pop, how many, queue to push to.

error_reporting(E_ALL & ~E_DEPRECATED);
require 'Illuminate/autoload.php';

[, $socket, $prefix, $queue, $count, $target] = $argv;

$container = new Illuminate\Container\Container;
$redis = new Illuminate\Redis\RedisManager($container, 'phpredis', [
    'options' => ['prefix' => $prefix],
    'default' => ['host' => $socket, 'port' => 0, 'database' => 2],
]);
$laravel = new Illuminate\Queue\RedisQueue($redis, 'default', null, 90);
$laravel->setContainer($container);
$laravel->setConnectionName('redis');

for ($tries = 0; $count === 'all' && $tries < 20;) {
    try {
        if (! $job = $laravel->pop($queue)) {
            // What the other worker holds may still come back.
            $tries++;
            usleep(5000);
            continue;
        }
    } catch (Throwable $e) {
        if (! str_contains($e->getMessage(), 'locked')) {
            throw $e;
        }
        continue;
    }
    $tries = 0;
    echo bin2hex($job->getRawBody()), "\n";
    for ($deleted = false; ! $deleted;) {
        try {
            $job->delete();
            $deleted = true;
        } catch (Throwable $e) {
            if (! str_contains($e->getMessage(), 'locked')) {
                throw $e;
            }
        }
    }
}

for ($i = 0; $i < (int) $count; $i++) {
    $job = $laravel->pop($queue);
    echo bin2hex($job->getRawBody()), ' ', bin2hex($job->getReservedJob()), ' ', $job->attempts(), "\n";
}

$laravel->push('Work@fire', ['n' => 1.5, 'empty' => [], 'text' => 'grüße/'], $target);
