<?php

/** Messages that no Laravel could run: they are looked at, mended and dropped. */

declare(strict_types=1);

use App\Jobs\Plain;
use Kqueue\Tests\World;

$broken = static fn (World $w, string ...$words): array => $w->kqueue('broken', '--as-root', 'app', ...$words);

row('broken', 'kqueue broken lists what was set aside and why, shows it, puts it back mended, and drops it, each once', function (World $w) use ($broken): void {
    // Laravel itself has made it, and then something has cut it short.
    $uuid = $w->dispatch((new Plain())->with(['tag' => 'mended']));
    $payload = $w->queued()[0]['payload'];
    $w->work(['max-jobs' => 1]);
    $before = count($w->journal('start'));
    $cut = substr($payload, 0, -20) . "\u{1b}[2J";
    $messages = [$cut, '["no job"]', '{"job": "x", "timeout": []}', '["no job"]'];
    array_walk($messages, static fn (string $message) => $w->pushRaw($message));
    $w->dispatch(new Plain());
    $w->work();
    $w->expectQueue(broken: 4);
    [$told, $code] = $broken($w);
    $w->expectSame([4, 0, 4], [$told['matched'] ?? $told, $code, count($told['messages'])], 'what is listed');
    $why = array_column($told['messages'], 'why');
    $w->expectContains('it is not JSON: ', $why[0], 'what is wrong with the first');
    $w->expectSame(['it is not a JSON object with a string `job`', 'its `timeout` is not a valid number'], array_slice($why, 1, 2), 'what is wrong with others');
    $w->expect(! isset($told['messages'][0]['text']), 'a list shows no contents');
    [$shown] = $broken($w, 'show', $told['messages'][0]['id']);
    $w->expectContains(substr($payload, 0, 100), $shown['messages'][0]['text'] ?? '', 'what is shown');
    $w->expect(! str_contains(json_encode($shown, JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES), '\u001b'), 'it is harmless');
    $last = $told['messages'][2]['id'];
    // Which ones has to be said, and what is no job is not put in the place of one.
    $w->expectSame([2, 2, 78], [$broken($w, 'drop')[1], $broken($w, 'requeue', '--all', '--with', __FILE__)[1], $broken($w, 'requeue', $last, '--with', __FILE__)[1]], 'exit codes of what is refused');
    [$dry] = $broken($w, 'drop', '--all', '--dry-run');
    $w->expectSame([4, 0], [$dry['matched'] ?? $dry, $dry['done'] ?? null], 'what a dry run counts');
    $w->expectQueue(broken: 4);
    file_put_contents($file = "{$w->sandbox->dir}/mended.json", $payload . "\n");
    [$said, $code] = $broken($w, 'requeue', $told['messages'][0]['id'], '--with', $file);
    $w->expectSame([1, 0], [$said['done'] ?? $said, $code], 'what is put back');
    $w->expectSame($payload, $w->queued()[0]['payload'], 'what is in the queue');
    $w->expectSame(1, $broken($w, 'requeue', $told['messages'][0]['id'], '--with', $file)[1], 'the exit code the second time');
    $w->expectQueue(ready: 1, broken: 3);
    // As it is, it is set aside again.
    [$said, $code] = $broken($w, 'requeue', $last);
    $w->expectSame([1, 1, 0], [$said['done'] ?? $said, $said['still_broken'] ?? null, $code], 'what is put back as it is');
    $w->work();
    $w->expectSame(['mended'], array_values(array_filter(array_slice(array_column($w->journal('start'), 'tag'), $before))), 'what has run');
    $w->expectQueue(broken: 3);
    [$said, $code] = $broken($w, 'drop', '--queue', 'default', '--yes');
    $w->expectSame([3, 3, 0], [$said['matched'] ?? $said, $said['done'] ?? null, $code], 'what is dropped');
    $w->expectSame(0, $broken($w)[0]['matched'] ?? null, 'what is left');
    $w->expectQueue();
}, engines: ['kqueue']);
