//! Checks the machine for one app: memory, and what may deny access to PHP.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;

use super::finding::Finding;
use kqueue_config::{Alerts, KEYS, Loaded, Origin};
use kqueue_system::proc::limits_memory;

/// MB below which nothing, or not enough, may be written.
const FULL: u64 = 4;
const TIGHT: u64 = 128;

/// The default of `sendmail`.
const SENDMAIL: &str = "/usr/sbin/sendmail";

/// Judges this machine.
pub(super) fn judge(loaded: &Loaded, memory_mb: Option<u64>, findings: &mut Vec<Finding>) {
    findings.extend(memory_mb.and_then(|total| memory(loaded, total)));
    findings.extend(cgroups(limits_memory()));
    findings.extend(
        statvfs(&loaded.settings.state_dir)
            .ok()
            .and_then(|disk| space(&loaded.settings.state_dir, disk.blocks_available() * disk.fragment_size())),
    );
    findings.extend(targets(&loaded.settings.tables.alerts()));
    findings.extend(selinux(fs::read_to_string("/sys/fs/selinux/enforce").ok().as_deref()));
    let profiles = fs::read_to_string("/sys/kernel/security/apparmor/profiles").unwrap_or_default();
    let php = &loaded.settings.php;
    findings.extend(apparmor(&profiles, php, &php.canonicalize().unwrap_or_else(|_| php.clone())));
}

/// The memory that the pool may take. All limits together above the machine's memory are not a mistake, as jobs rarely
/// reach them, but worth a note.
fn memory(loaded: &Loaded, total: u64) -> Option<Finding> {
    let settings = &loaded.settings;
    let (workers, usual) = (settings.pool_max_size as u64, u64::from(settings.worker_memory));
    let most = u64::from(settings.worker_memory_max);
    let isolated = settings.max_concurrent_isolated as u64 * u64::from(settings.isolated_memory_max);
    let chosen = ["pool_size", "pool_max_size", "worker_memory"].iter().any(|name| {
        let key = KEYS.iter().find(|key| key.name == *name);
        key.and_then(|key| loaded.origin(key)).is_some_and(|origin| *origin != Origin::Default)
    });
    let full = workers * usual;
    if full > total && chosen {
        return Some(Finding::warning(
            "memory",
            format!(
                "{workers} pooled workers (pool_max_size) of {usual} MB (worker_memory) need {full} MB, but the machine has {total} MB"
            ),
            format!("pool_max_size = {}, or a smaller worker_memory", (total / usual.max(1)).max(1)),
        ));
    }
    let worst = workers * most + isolated;
    (worst > total).then(|| {
        Finding::note(
            "memory",
            format!("with every worker and isolated job at its limit the app would use {worst} MB, but the machine has {total} MB"),
            format!("systemctl set-property kqueue-{}.slice MemoryMax={}M limits the whole app", settings.app, total * 3 / 4),
        )
    })
}

fn cgroups(limits_memory: bool) -> Option<Finding> {
    (!limits_memory).then(|| {
        Finding::note(
            "cgroups",
            "systemd cannot enforce memory limits here: cgroup v2 has no memory controller. kqueue itself looks four times a second, and ends processes that exceed their limit",
            "boot with systemd.unified_cgroup_hierarchy=1 and without cgroup_disable=memory",
        )
    })
}

/// The room for the ledger and the history.
fn space(state_dir: &Path, bytes: u64) -> Option<Finding> {
    let mb = bytes >> 20;
    let what = || format!("{} MB are left on the file system of {}", mb, state_dir.display());
    let fix = "free some space, or set another state_dir";
    match mb {
        0..FULL => Some(Finding::error(
            "disk",
            format!("{}: jobs that are held when kqueue dies may come back only after retry_after", what()),
            fix,
        )),
        FULL..TIGHT => Some(Finding::warning("disk", format!("{}: the history alone may take 64 MB", what()), fix)),
        _ => None,
    }
}

/// The programs that send alerts.
fn targets(alerts: &Alerts) -> Vec<Finding> {
    let sendmail = alerts.sendmail.clone().unwrap_or_else(|| SENDMAIL.into());
    let mail = alerts.mail.is_some().then_some((
        "mail",
        sendmail,
        "install a mail transport, such as msmtp-mta or postfix, or set sendmail",
    ));
    let program = alerts.command.as_ref().and_then(|words| words.first());
    let command = program.map(|program| ("command", program.into(), "install it, or correct command in [alerts]"));
    let lacks = [mail, command]
        .into_iter()
        .flatten()
        .filter(|(_, program, _): &(_, PathBuf, _)| program.is_absolute() && !program.exists());
    let finding = |(key, program, fix): (&str, PathBuf, &'static str)| {
        Finding::warning("alerts", format!("alerts by {key} will be lost: there is no {}", program.display()), fix)
    };
    lacks.map(finding).collect()
}

fn selinux(enforce: Option<&str>) -> Option<Finding> {
    (enforce?.trim() == "1").then(|| {
        Finding::note(
            "selinux",
            "SELinux is enforcing: it may deny jobs what it allows in a shell or the web server",
            "ausearch -m avc -ts recent lists denials; audit2allow turns them into a policy",
        )
    })
}

fn apparmor(profiles: &str, php: &Path, real: &Path) -> Option<Finding> {
    let named = |name: &str| name == "php" || [php, real].iter().any(|path| path.as_os_str() == name);
    let mut lines = profiles.lines().filter_map(|line| line.rsplit_once(' '));
    let (name, _) = lines.find(|(name, mode)| named(name) && *mode == "(enforce)")?;
    Some(Finding::note(
        "apparmor",
        format!("AppArmor confines PHP with the profile {name}, which may deny what jobs need"),
        format!("journalctl -k -g apparmor lists denials; aa-complain {name} makes the profile only log them"),
    ))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Severity;
    use super::*;
    use kqueue_config::{Surroundings, load_text};

    fn loaded(lines: &str) -> Loaded {
        let dir = tempfile::Builder::new().prefix("kq").tempdir().unwrap();
        fs::write(dir.path().join("artisan"), "").unwrap();
        let text = format!("path = {:?}\nphp = \"/bin/sh\"\n{lines}", dir.path());
        let mut here = Surroundings::read().unwrap();
        here.memory_mb = Some(16_000);
        load_text("shop", &dir.path().join("shop.toml"), &text, &here).unwrap()
    }

    #[test]
    fn a_pool_and_the_memory() {
        let severity = |lines: &str, total| memory(&loaded(lines), total).map(|finding| finding.severity);
        assert_eq!(severity("", 16_000), None);
        assert_eq!(severity("", 4_000), Some(Severity::Note));
        // Defaults, which kqueue copes with.
        assert_eq!(severity("", 2_000), Some(Severity::Note));
        assert_eq!(severity("pool_size = 200\npool_max_size = 200", 16_000), Some(Severity::Warning));
        let finding = memory(&loaded("pool_max_size = 200\nworker_memory = 256"), 16_000).unwrap();
        assert_eq!(finding.fix, "pool_max_size = 62, or a smaller worker_memory");
    }

    #[test]
    fn a_full_disk_and_lost_alerts() {
        let severity = |mb: u64| space(Path::new("/var/lib/kqueue/shop"), mb << 20).map(|finding| finding.severity);
        assert_eq!([0, 100, 1_000].map(severity), [Some(Severity::Error), Some(Severity::Warning), None]);
        let alerts = |program: &str| Alerts {
            mail: Some(vec!["ops@shop.example".to_owned()]),
            sendmail: Some(program.into()),
            command: Some(vec!["/no/such/pager".to_owned()]),
            ..Alerts::default()
        };
        assert_eq!((targets(&alerts("/bin/sh")).len(), targets(&alerts("/no/such/mailer")).len()), (1, 2));
        assert!(targets(&Alerts::default()).is_empty());
    }

    #[test]
    fn who_else_may_deny() {
        assert!(selinux(Some("1\n")).is_some() && selinux(Some("0")).is_none() && selinux(None).is_none());
        assert!(cgroups(true).is_none() && cgroups(false).is_some());
        let profiles = "/usr/sbin/cupsd (enforce)\n/usr/bin/php8.2 (complain)\nphp-fpm (enforce)\n";
        let of = |profiles: &str| apparmor(profiles, Path::new("/usr/bin/php"), Path::new("/usr/bin/php8.2"));
        assert_eq!(of(profiles), None);
        assert!(of(&profiles.replace("complain", "enforce")).unwrap().what.contains("/usr/bin/php8.2"));
    }
}
