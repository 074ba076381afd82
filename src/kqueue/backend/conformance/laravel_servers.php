<?php

// What the runtime is told of Redis connections, one JSON object a line. Argument: the directory of the worker program.

error_reporting(E_ALL & ~E_DEPRECATED);
require 'Illuminate/autoload.php';
require 'Predis/autoload.php';

foreach (['Driver', 'Misconfigured', 'RedisServers', 'RedisDriver'] as $class) {
    require "{$argv[1]}/{$class}.php";
}

$tls = ['cafile' => '/ca.pem', 'verify_peer' => '0'];
$cluster = ['options' => ['cluster' => 'redis', 'prefix' => 'c_', 'password' => 'geheim', 'parameters' => ['password' => 'geheim']]];
$nodes = [['host' => 'a', 'port' => 7000], ['host' => 'b', 'port' => '7001']];
$sentinel = ['tcp://s1:26379', 'tls://s2:26380', 'options' => ['replication' => 'sentinel', 'service' => 'shop', 'prefix' => 's_', 'parameters' => ['username' => 'shop', 'password' => 'geheim', 'database' => 3]]];

$cases = [
    ['phpredis', ['default' => ['host' => 'a', 'password' => 'geheim', 'port' => '6380', 'database' => '2', 'prefix' => 'x_']]],
    ['phpredis', ['default' => ['host' => 'cache.example', 'scheme' => 'tls', 'password' => ['shop', 'geheim'], 'port' => 6379, 'context' => ['stream' => $tls]]]],
    ['phpredis', ['default' => ['url' => 'tls://shop:ge%40heim@cache.example:6380?database=4']]],
    ['phpredis', ['default' => ['host' => 'a', 'port' => 6379, 'context' => ['stream' => $tls]]]],
    ['phpredis', $cluster + ['clusters' => ['default' => $nodes, 'options' => ['context' => $tls]]]],
    ['phpredis-sentinel', ['default' => ['sentinel_host' => 's', 'sentinel_service' => 'shop', 'sentinel_password' => 'wach', 'password' => 'geheim', 'database' => 1]]],
    ['predis', ['options' => ['prefix' => 'p_'], 'default' => ['host' => 'a', 'port' => 6380, 'username' => 'shop', 'password' => 'geheim', 'database' => '2']]],
    ['predis', ['default' => ['scheme' => 'tls', 'host' => 'cache.example', 'port' => 6380, 'ssl' => $tls]]],
    ['predis', ['default' => ['scheme' => 'unix', 'path' => '/run/redis.sock']]],
    ['predis', $cluster + ['clusters' => ['default' => $nodes]]],
    ['predis', ['default' => $sentinel]],
    ['predis', ['default' => ['tcp://a:1?role=slave', 'tcp://b:2?alias=master&role=master', 'options' => ['replication' => true]]]],
    ['predis', ['default' => ['tcp://a:1', 'tcp://b:2']]],
    ['phpredis', ['default' => ['host' => 'tls://a', 'port' => 1, 'context' => ['stream' => ['passphrase' => 'geheim']]]]],
];

foreach ($cases as [$client, $config]) {
    $app = new Illuminate\Container\Container;
    $app['config'] = new Illuminate\Config\Repository(['database' => ['redis' => ['client' => $client] + $config]]);
    $manager = new Illuminate\Redis\RedisManager($app, $client, $config);
    $queue = new Illuminate\Queue\RedisQueue($manager, 'default', 'default', 90);
    $driver = new Kqueue\Worker\RedisDriver;

    $fields = Closure::bind(fn (): array => get_object_vars($this), $queue, Illuminate\Queue\RedisQueue::class)();
    // Nothing of Laravel's application is asked for but its configuration.
    echo json_encode($driver->describe(new class($app) extends Illuminate\Foundation\Application {
        public function __construct(private $inner)
        {
        }

        public function offsetGet($key): mixed
        {
            return $this->inner[$key];
        }
    }, $fields) + ['name' => $driver->name($queue, 'mail')]), "\n";
}
