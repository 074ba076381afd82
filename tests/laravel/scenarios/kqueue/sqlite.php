<?php

/** SQLite has one writer at a time: jobs and Laravel's own books in one file, with many processes. */

declare(strict_types=1);

use App\Jobs\KeepsBooks;
use App\Jobs\Plain;
use App\Jobs\Reads;
use Illuminate\Support\Facades\Bus;
use Kqueue\Tests\World;

$env = ['RECORD' => 'false'];

foreach (['delete' => 'with a rollback journal', 'wal' => 'with a write-ahead log'] as $mode => $how) {
    row('sqlite', "batches, counters and locks in SQLite {$how}, many processes: no lock is heard of", function (World $w) use ($mode): void {
        $database = $w->sandbox->database();
        $database->exec("pragma journal_mode = {$mode}");
        $database->exec("insert into users (name, email) values ('0', 'a@b.c')");
        Bus::batch([(new KeepsBooks(80))->with(['tries' => 1])])->dispatch();
        $w->work(['pool-min-idle' => 6, 'pool-size' => 6, 'pool-max-size' => 6], 90.0);
        $w->expectSame([], array_column($w->failed(), 'exception'), 'failed jobs');
        $w->expectSame([], $w->journal('report'), 'reported exceptions');
        $w->expectSame(81, count($w->journal('end')), 'jobs that ended');
        $w->expectSame('80', (string) $database->query('select name from users')->fetchColumn(), 'what they counted');
        $w->expectBatch(81, 0, 0, false, true);
    }, engines: ['kqueue'], env: $env);
}

row('sqlite', 'a job that only reads, in a long transaction, with a write-ahead log: others write meanwhile', function (World $w): void {
    $database = $w->sandbox->database();
    $database->exec('pragma journal_mode = wal');
    $database->exec('pragma busy_timeout = 2000');
    $uuid = $w->dispatch((new Reads($w->sandbox->dir . '/go'))->with(['tries' => 1]));
    $daemon = $w->start();
    $w->waitFor('read');
    $database->exec("insert into users (name, email) values ('0', 'a@b.c')");
    $w->dispatch(new Plain());
    $w->waitFor('end');
    touch($w->sandbox->dir . '/go');
    $w->waitFor('end', uuid: $uuid);
    $w->waitForQueue();
    $daemon->stop();
    $w->expectFailed(0);
}, engines: ['kqueue'], env: $env);
