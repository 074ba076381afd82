<?php

// Pops a number of jobs, or runs `all` there are, with Laravel's own database queue, then pushes one.
// Arguments: SQLite file or connection in JSON, queue to pop, how many, queue to push to.

error_reporting(E_ALL & ~E_DEPRECATED);
require 'Illuminate/autoload.php';

[, $file, $queue, $count, $target] = $argv;

$container = new Illuminate\Container\Container;
$database = new Illuminate\Database\Capsule\Manager($container);
$database->addConnection((json_decode($file, true) ?? ['driver' => 'sqlite', 'database' => $file]) + ['prefix' => '']);
$laravel = new Illuminate\Queue\DatabaseQueue($database->getConnection(), 'jobs', 'default', 90);
$laravel->setContainer($container);
$laravel->setConnectionName('database');

for ($tries = 0; $count === 'all' && $tries < 20;) {
    try {
        if (! $job = $laravel->pop($queue)) {
            // What the other worker holds may still come back.
            $tries++;
            usleep(5000);
            continue;
        }
    } catch (Throwable $e) {
        if (! preg_match('/locked|[Dd]eadlock/', $e->getMessage())) {
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
            if (! preg_match('/locked|[Dd]eadlock/', $e->getMessage())) {
                throw $e;
            }
        }
    }
}

for ($i = 0; $i < (int) $count; $i++) {
    $job = $laravel->pop($queue);
    echo $job->getJobId(), ' ', bin2hex($job->getRawBody()), ' ', $job->attempts(), "\n";
}

$laravel->push('Work@fire', ['n' => 1.5, 'empty' => [], 'text' => 'grüße/'], $target);
