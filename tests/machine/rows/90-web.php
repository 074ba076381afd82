<?php

/** The dashboard under systemd: who reaches it, what it may, and that looking starts nothing. */

declare(strict_types=1);

use App\Jobs\Quick;
use Kqueue\Tests\Machine\Machine;

/** Asks the dashboard, as somebody; its status and what it says, or what curl says. */
$ask = static function (Machine $m, string $path, ?string $as = null, string $url = 'http://localhost', ?string $token = null): array {
    $program = '$c = curl_init($argv[2] . $argv[1]); curl_setopt_array($c, [CURLOPT_RETURNTRANSFER => true, CURLOPT_TIMEOUT => 20]
        + ($argv[2] === "http://localhost" ? [CURLOPT_UNIX_SOCKET_PATH => "/run/kqueue/web.sock"] : [])
        + ($argv[3] === "" ? [] : [CURLOPT_HTTPHEADER => ["Authorization: Bearer {$argv[3]}"]]));
        $t = curl_exec($c); echo json_encode([curl_getinfo($c, CURLINFO_RESPONSE_CODE), $t === false ? curl_error($c) : $t]);';
    $line = 'php -r ' . escapeshellarg($program) . ' -- ' . escapeshellarg($path) . ' ' . escapeshellarg($url) . ' ' . escapeshellarg((string) $token);

    return json_decode($m->must($line, $as), true, 8, JSON_THROW_ON_ERROR);
};

row('web', 'the socket starts it; operators and nginx reach it, strangers do not; it shows an app, and starts none', function (Machine $m) use ($ask): void {
    $m->expectSame('disabled', trim($m->sh('systemctl is-enabled kqueue-web.socket')->text()), 'by itself');
    $m->must('systemctl start kqueue-web.socket');
    $m->expectSame('inactive', $m->unit('kqueue-web.service')->state(), 'before anybody comes');
    $m->must('systemctl start kqueue@shop.socket kqueue-control@shop.socket');
    [$status, $told] = $ask($m, '/healthz/shop');
    $m->expectSame([503, 'stopped'], [$status, json_decode($told, true)['status']], 'an app that does not run');
    $ask($m, '/');
    $ask($m, '/app/shop/');
    $m->expectSame('inactive', $m->runtime()->state(), 'the app that was looked at');

    $m->start();
    $uuid = $m->dispatch(new Quick(1));
    $m->waitForEffects('end', 1, $uuid);
    $m->waitFor(static fn (): bool => $ask($m, '/readyz/shop')[0] === 200, 'the app to be ready', 20, Machine::DEAR);
    [$status, $page] = $ask($m, '/app/shop/');
    $m->expectSame(200, $status, "the app's page: {$page}");
    $m->waitFor(static fn (): bool => str_contains($ask($m, '/metrics')[1], 'kqueue_jobs_total{app="shop",class="App\\\\Jobs\\\\Quick"'), 'the job to be counted', 20, Machine::DEAR);

    $m->expectSame(0, $ask($m, '/', 'stranger')[0], 'what a stranger gets');
    $m->expectSame(0, $ask($m, '/', 'clerk')[0], 'what the group kqueue gets, which is another');
    $m->must('usermod --append --groups kqueue-web clerk');
    $m->expectSame(200, $ask($m, '/', 'clerk')[0], 'what its own group gets');
    $m->must('gpasswd --delete clerk kqueue-web');

    $main = $m->unit('kqueue-web.service')->pid();
    $m->expectSame('kqueue-web', posix_getpwuid((int) fileowner("/proc/{$main}"))['name'], 'whose process it is');
    $resident = (int) (preg_match('/^VmRSS:\s+(\d+)/m', (string) file_get_contents("/proc/{$main}/status"), $found) ? $found[1] : 0);
    $m->expect($resident > 0 && $resident < 30 * 1024, "it has {$resident} KB");
    $score = static fn (string $unit): float => (float) (preg_match('/: ([\d.]+) \S+/u', $m->sh("systemd-analyze security {$unit} | tail -1")->output, $found) ? $found[1] : 10);
    $m->expect($score('kqueue-web.service') <= $score('kqueue.service'), 'it may no more than the coordinator: ' . $score('kqueue-web.service') . ', ' . $score('kqueue.service'));
    $m->must('systemctl stop kqueue-web.socket kqueue-web.service');
});

row('web-port', 'a port is opened by a drop-in of the socket alone, and then a token is needed', function (Machine $m) use ($ask): void {
    $drop = '/etc/systemd/system/kqueue-web.socket.d';
    try {
        $m->must("mkdir -p {$drop} && printf '[Socket]\\nListenStream=127.0.0.1:9199\\n' >{$drop}/port.conf && systemctl daemon-reload");
        $since = $m->cursor();
        $m->must('systemctl start kqueue-web.socket');
        $ask($m, '/', null, 'http://127.0.0.1:9199');
        $m->waitForRecord('without authentication', 'kqueue-web.service', $since);
        $m->must('systemctl stop kqueue-web.socket kqueue-web.service; systemctl reset-failed kqueue-web.service kqueue-web.socket');

        $token = bin2hex(random_bytes(24));
        $m->must('mkdir -p /etc/credstore && umask 077 && echo ' . $token . ' >/etc/credstore/kqueue-web.token');
        $m->must('systemctl start kqueue-web.socket');
        $m->expectSame(401, $ask($m, '/', 'stranger', 'http://127.0.0.1:9199')[0], 'without the token');
        $m->expectSame(200, $ask($m, '/', 'stranger', 'http://127.0.0.1:9199', $token)[0], 'with it');
        $m->expectSame(401, $ask($m, '/', null, 'http://localhost')[0], 'where there is one, it is asked for everywhere');
    } finally {
        $m->sh("systemctl stop kqueue-web.socket kqueue-web.service; rm -rf {$drop} /etc/credstore/kqueue-web.token; systemctl daemon-reload; systemctl reset-failed");
    }
});
