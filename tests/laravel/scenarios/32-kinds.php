<?php

/** What else than a class with a handle() can be queued. */

declare(strict_types=1);

use App\Happened;
use App\Journal;
use App\Listeners\Limited;
use App\Mail\Welcome;
use App\Models\User;
use App\Notifications\Greeting;
use Illuminate\Queue\CallQueuedClosure;
use Kqueue\Tests\World;

row(27, 'a closure runs, under the name of its place', function (World $w): void {
    $number = 42;
    $line = __LINE__ + 1;
    $uuid = $w->dispatch(CallQueuedClosure::create(static function ($job) use ($number): void {
        Journal::write('start', ['number' => $number] + Journal::about($job->job));
    }));
    $name = "Closure (32-kinds.php:{$line})";
    $payload = json_decode($w->backend->state()->ready[0]['payload'], true);
    $w->expectSame($name, $payload['displayName'], 'displayName');
    $w->work();
    $w->expectAttempts([1], $uuid);
    $w->expectSame($number, $w->journal('start')[0]['number'], 'what the closure was given');
    $w->expectContains($name, $w->output(), 'the engine\'s log');
    $w->expectGone();
    $w->expectFailed(0);
    $w->expectEvents(['JobProcessing', 'JobProcessed', 'JobAttempted']);
});

row(27, 'a closure that throws: its own callback is called, and it fails', function (World $w): void {
    $uuid = $w->dispatch(CallQueuedClosure::create(static function (): void {
        throw new RuntimeException('thrown on purpose');
    })->onFailure(static function (Throwable $e): void {
        Journal::write('failed', ['exception' => get_class($e), 'message' => $e->getMessage()]);
    }));
    $w->work();
    $w->expectSame(['thrown on purpose'], array_column($w->journal('failed'), 'message'), 'what the callback was given');
    $w->expectGone();
    $w->expectFailed(1, 'RuntimeException: thrown on purpose', $uuid);
    $w->expectEvents(['JobProcessing', 'failed', 'JobFailed', 'JobExceptionOccurred', 'JobAttempted', 'report']);
});

row(28, 'a queued listener: its own queue, limits, backoff and failed()', function (World $w): void {
    $events = $w->laravel['events'];
    // Laravel 11 and later find listeners by themselves.
    $events->hasListeners(Happened::class) || $events->listen(Happened::class, Limited::class);
    $events->dispatch(new Happened(7));
    $job = $w->backend->state('listeners')->ready[0];
    $payload = json_decode($job['payload'], true);
    $w->expectSame([Limited::class, 2, 44, '25'], [$payload['displayName'], $payload['maxTries'], $payload['timeout'], $payload['backoff']], 'name, tries, timeout, backoff');
    $w->work(['queue' => 'listeners', 'tries' => 5]);
    $w->expectAttempts([1]);
    $delayed = $w->backend->state('listeners')->delayed;
    $w->expectSame(1, count($delayed), 'delayed');
    $w->expect(abs($delayed[0]['due'] - (int) $w->journal('start')[0]['t'] - 25) <= 1, 'due in 25 s');
    $w->expectFailed(0);
    $w->backend->makeDue('listeners');
    $w->work(['queue' => 'listeners', 'tries' => 5]);
    $w->expectAttempts([1, 2], $payload['uuid']);
    $w->expectGone();
    $w->expectFailed(1, 'thrown on purpose', $payload['uuid']);
    $w->expectSame('listeners', $w->failed()[0]['queue'], 'queue of the failed job');
    $w->expectSame([7], array_column($w->journal('failed'), 'x'), 'failed() was given the event');
    foreach ($w->journal('start') as $start) {
        $w->expectSame(7, $start['x'], 'the event');
        $w->expectSame($w->isInDatabase() ? 'database' : $w->sandbox->driver, $start['driver'], 'whose job class it was given');
    }
    $w->expectEvents([
        'JobProcessing', 'JobExceptionOccurred', 'JobReleasedAfterException', 'JobAttempted',
        'JobProcessing', 'JobFailed', 'JobExceptionOccurred', 'JobAttempted',
    ], $payload['uuid']);
});

row(29, 'a mailable is one job, and one mail', function (World $w): void {
    $user = User::named('ann');
    $w->laravel['mailer']->send(new Welcome($user));
    $payload = json_decode($w->backend->state()->ready[0]['payload'], true);
    $w->expectQueue(ready: 1);
    $w->expectSame([Welcome::class, 3, 35], [$payload['displayName'], $payload['maxTries'], $payload['timeout']], 'name, tries, timeout');
    $w->work();
    $w->expectSame(['Welcome'], array_column($w->journal('mail'), 'subject'), 'mails');
    $w->expectGone();
    $w->expectFailed(0);
    $w->expectEvents(['JobProcessing', 'JobProcessed', 'JobAttempted']);
});

row(29, 'a notification of two users by two channels: four jobs, each with its effect', function (World $w): void {
    $users = [User::named('ann'), User::named('bob')];
    $w->laravel[Illuminate\Contracts\Notifications\Dispatcher::class]->send($users, new Greeting());
    $w->expectQueue(ready: 4);
    // SQLite has one writer at a time, and the app's own are not patient.
    $w->work(['pool-size' => 1, 'pool-max-size' => 1, 'max-concurrent-inline' => 1, 'max-concurrent-pooled' => 1, 'max-concurrent-isolated' => 1]);
    $w->expectSame(['Welcome', 'Welcome'], array_column($w->journal('mail'), 'subject'), 'mails');
    $told = $w->sandbox->database()->query('select notifiable_id, data from notifications order by notifiable_id')->fetchAll(PDO::FETCH_KEY_PAIR);
    $w->expectSame([1 => '{"greeting":"ann"}', 2 => '{"greeting":"bob"}'], $told, 'notifications stored');
    $w->expectGone();
    $w->expectFailed(0);
    $w->expectSame(4, count(array_keys($w->events(), 'JobProcessed')), 'jobs processed');
});
