<?php

/** The same with DNF, where nobody but the package's own scriptlets does anything. */

declare(strict_types=1);

use App\Jobs\Heavy;
use App\Jobs\Pooled;
use App\Jobs\Quick;
use Kqueue\Tests\Machine\Packaged;

row('dnf', 'dnf install, upgrade under load and remove: the scriptlets do their work', function (Packaged $m): void {
    // The users of a package stay; this is to be its first.
    $m->sh('userdel kqueue; groupdel kqueue');
    $m->must('journalctl --update-catalog');
    $m->must('dnf -y install kqueue-' . Packaged::OLD);
    $m->expect(posix_getpwnam('kqueue') !== false && posix_getgrnam('kqueue') !== false, 'the user and the group are there');
    $m->expectSame('enabled', trim($m->must('systemctl is-enabled kqueue.socket')), 'by preset');
    $m->expectSame('disabled', trim($m->sh('systemctl is-enabled kqueue@shop.service')->output), 'an app is the operator\'s to enable');
    $m->expect(is_dir('/var/lib/kqueue') && is_dir('/run/kqueue'), 'its directories are there');
    $m->expect(str_contains($m->must('journalctl --list-catalog'), 'a81d2a8e00f144d6aae3252c7c19310d'), 'the catalog explains failures');
    $m->expectSame('loaded', $m->unit('kqueue.socket')->property('LoadState'), 'systemd knows of it');

    $m->init();
    $m->must('systemctl enable --now kqueue@shop');
    $uuids = $m->hold('inline', 'pooled', 'isolated');
    $runtime = $m->runtime()->pid();
    $m->must('dnf -y upgrade kqueue');
    $m->expectSame($runtime, $m->runtime()->pid(), 'the runtime that works');
    $m->open();
    $m->waitFor(fn (): bool => $m->runtimeIsCurrent() && $m->runtime()->isActive(), 'the runtime to be the installed version', 30, Packaged::DEAR);
    $m->waitForEffects('end', 3);
    array_push($uuids, ...$m->dispatchAll([new Quick(1), new Pooled(1), new Heavy(1)]));
    $m->waitForEffects('end', 6);
    $m->expectOnce($uuids);

    $m->must('dnf -y remove kqueue');
    $m->expectSame([], $m->unitsLike('kqueue*'), 'units that are left');
    $m->expectSame([], $m->phpProcesses(), 'processes of the app');
    $m->expect(! file_exists('/usr/bin/kqueue') && ! is_link('/etc/systemd/system/sockets.target.wants/kqueue.socket'), 'it is gone');
    $m->expect(file_exists('/etc/kqueue/shop.toml'), 'the config stays');
}, seconds: 180);
