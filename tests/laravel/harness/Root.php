<?php

declare(strict_types=1);

namespace Kqueue\Tests;

/** Runs a program of the tests again inside another root file system, by chroot in a private mount namespace. */
final class Root
{
    /** All mounts are gone with the last process of the run; the root itself is not written to. */
    private const SCRIPT = <<<'SH'
        set -eu
        root=$1 repository=$2 binary=$3 program=$4
        shift 4
        mount --make-rprivate /
        mount --bind "$root" "$root"
        mount --rbind /proc "$root/proc"
        mount --rbind /dev "$root/dev"
        mount -t tmpfs -o mode=1777 tmp "$root/tmp"
        mount --bind "$repository" "$root/srv"
        if [ -n "$binary" ]; then
            # As it is installed: the program, and its PHP where it looks for it.
            beside=$(dirname "$binary")
            for php in "${KQUEUE_PHP_DIR:-}" "$beside/../share/kqueue/php" "$beside/../../src/php"; do
                [ -f "$php/worker.php" ] && break
            done
            mkdir -p "$root/tmp/kqueue/bin" "$root/tmp/kqueue/share/kqueue"
            cp "$binary" "$root/tmp/kqueue/bin/kqueue"
            cp -RL "$php" "$root/tmp/kqueue/share/kqueue/php"
            export KQUEUE_BIN=/tmp/kqueue/bin/kqueue
            unset KQUEUE_PHP_DIR
        fi
        mount -o remount,bind,ro "$root"
        export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp TMPDIR=/tmp LANG=C.UTF-8
        exec chroot "$root" /usr/bin/php "/srv/tests/$program" "$@"
        SH;

    /**
     * @param string $program its path below tests/
     * @param list<string> $arguments the command line without --root
     */
    public static function enter(string $root, string $kqueue, string $program, array $arguments): never
    {
        pcntl_exec('/usr/bin/unshare', ['-m', 'sh', '-c', self::SCRIPT, 'sh', $root, dirname(__DIR__, 3), $kqueue, $program, ...$arguments]);
        fwrite(STDERR, "run: cannot run unshare\n");
        exit(2);
    }
}
