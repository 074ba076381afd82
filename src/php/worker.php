<?php

declare(strict_types=1);

/**
 * One PHP process of kqueue: `php worker.php MODE`, with the runtime's socket in KQUEUE_SOCKET.
 *
 * MODE is `template` (boots the app and forks others), `pooled`, `lane` and `isolated` (run jobs), or `horizon` (stands in
 * for Horizon's master). `probe` ends with 0 if forks can have an output of their own, else with 1, and with 2 more if opcache is
 * there and is off on the command line; `survey` says what the commands that set kqueue up ask of an app; `failed` lists,
 * retries and forgets its failed jobs; `cancel` fails or deletes jobs that wait, `move` puts them elsewhere, and `broken` is
 * about messages that are no jobs.
 * It needs nothing of the app but its bootstrap files: no Composer package, no configuration.
 * It talks to the runtime over the socket alone; the protocol is specified in src/core/wire/protocol.md.
 */

namespace Kqueue\Worker;

error_reporting(error_reporting() & ~E_DEPRECATED);
// Otherwise PHP would end in the middle of a job, without a word, when it prints and nobody reads any more.
ignore_user_abort(true);

// At once, for an upgrade may put others in their place while the app boots. Some more build on Laravel's own
// classes and come when these are there, still before the first job.
foreach (['Backend', 'Boot', 'Connections', 'DatabaseServer', 'Driver', 'DatabaseDriver', 'RedisDriver', 'RedisServers', 'SqsDriver', 'Entry', 'Held', 'Horizon', 'Inspect', 'Inspector', 'Limits', 'Loop', 'Misconfigured', 'Nested', 'Notify', 'Output', 'Pop', 'Process', 'Randomness', 'Signals', 'Silence', 'Sqlite', 'Template', 'Unloadable', 'Usage', 'Wire'] as $class) {
    require __DIR__."/worker/{$class}.php";
}

(static function (array $argv): void {
    $mode = $argv[1] ?? '';

    if ($mode === 'probe') {
        $opcache = ini_get('opcache.enable') && ! ini_get('opcache.enable_cli');
        exit((Output::prepare() ? 0 : 1) + ($opcache ? 2 : 0));
    }

    if ($mode === 'survey') {
        require __DIR__.'/worker/Declarations.php';
        require __DIR__.'/worker/Others.php';
        require __DIR__.'/worker/Survey.php';
        exit((new Survey((array) json_decode($argv[2] ?? '', true)))->run());
    }

    $errands = [
        'failed' => ['FailedJobs'],
        'cancel' => ['Cancelled', 'Stores', 'PickedJobs', 'CancelJobs'],
        'move' => ['Stores', 'PickedJobs', 'MoveJobs'],
        'broken' => ['Stores', 'BrokenMessages'],
    ];

    if (isset($errands[$mode])) {
        foreach (['Errand', ...$errands[$mode]] as $class) {
            require __DIR__."/worker/{$class}.php";
        }

        $errand = __NAMESPACE__.'\\'.end($errands[$mode]);
        // Not as an argument: others may read those, and they have an end.
        exit((new $errand((array) json_decode((string) stream_get_contents(STDIN), true)))->run());
    }

    $socket = getenv('KQUEUE_SOCKET');

    if (! in_array($mode, ['template', 'pooled', 'lane', 'isolated', 'horizon'], true) || $socket === false || $socket === '') {
        fwrite(STDERR, "worker.php is started by kqueue, which names a mode and its socket; run 'kqueue run' instead\n");
        exit(2);
    }

    // A runtime of the version before has it beside the socket.
    $directory = getenv('KQUEUE_DIRECTORY') ?: dirname($socket);
    exit((new Process($mode, $socket, (string) getenv('KQUEUE_WORKER'), $directory))->run());
})($_SERVER['argv'] ?? []);
