<?php

declare(strict_types=1);

/**
 * One PHP process of kqueue: `php worker.php MODE`, with the runtime's socket in KQUEUE_SOCKET.
 *
 * MODE is `template` (boots the app and forks the others), `pooled`, `lane` or `isolated` (run jobs), or `horizon`
 * (stands in for Horizon's master). These talk to the runtime over the socket alone; the protocol is specified in
 * src/core/wire/protocol.md.
 *
 * The other modes do without a runtime. `probe` exits with 0 if forks can get an output of their own, else with 1, plus
 * 2 if opcache is enabled but not on the command line. `survey` reports on an app for `kqueue init`, `check` and
 * `import`. `failed` lists, retries and forgets failed jobs, `cancel` fails or deletes unreserved jobs, `move` moves
 * them, and `broken` manages messages that are not valid jobs.
 *
 * Requires nothing of the app but its bootstrap files: no Composer package, no configuration.
 */

namespace Kqueue\Worker;

error_reporting(error_reporting() & ~E_DEPRECATED);
// Otherwise PHP exits silently in the middle of a job when it prints and the reader is gone.
ignore_user_abort(true);

// Loaded up front: an upgrade may replace these files while the app boots. Classes that extend Laravel's are loaded
// later, still before the first job.
foreach (['Backend', 'Boot', 'Connections', 'DatabaseServer', 'Driver', 'DatabaseDriver', 'RedisDriver', 'RedisServers', 'SqsDriver', 'Entry', 'Held', 'Horizon', 'Inspect', 'Inspector', 'Limits', 'Loop', 'Misconfigured', 'Nested', 'Notify', 'Output', 'Patience', 'Pop', 'Process', 'Randomness', 'Signals', 'Silence', 'Sqlite', 'Template', 'Unloadable', 'Usage', 'Wire'] as $class) {
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
        'failed' => ['Transit', 'FailedJobs'],
        'cancel' => ['Cancelled', 'Stores', 'PickedJobs', 'CancelJobs'],
        'move' => ['Stores', 'PickedJobs', 'MoveJobs'],
        'broken' => ['Stores', 'BrokenMessages'],
    ];

    if (isset($errands[$mode])) {
        foreach (['Errand', ...$errands[$mode]] as $class) {
            require __DIR__."/worker/{$class}.php";
        }

        $errand = __NAMESPACE__.'\\'.end($errands[$mode]);
        // Not as an argument: other users can read arguments, and their length is limited.
        exit((new $errand((array) json_decode((string) stream_get_contents(STDIN), true)))->run());
    }

    $socket = getenv('KQUEUE_SOCKET');

    if (! in_array($mode, ['template', 'pooled', 'lane', 'isolated', 'horizon'], true) || $socket === false || $socket === '') {
        fwrite(STDERR, "worker.php is started by kqueue, with a mode and KQUEUE_SOCKET; run 'kqueue run' instead\n");
        exit(2);
    }

    // A runtime of the previous version sets no KQUEUE_DIRECTORY: there it is the socket's.
    $directory = getenv('KQUEUE_DIRECTORY') ?: dirname($socket);
    exit((new Process($mode, $socket, (string) getenv('KQUEUE_WORKER'), $directory))->run());
})($_SERVER['argv'] ?? []);
