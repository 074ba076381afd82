//! Checks the machine for one app: memory, and what may deny access to PHP.

use std::fs;
use std::path::Path;

use super::finding::Finding;
use kqueue_config::{KEYS, Loaded, Origin};
use kqueue_system::proc::limits_memory;

/// Judges this machine.
pub(super) fn judge(loaded: &Loaded, memory_mb: Option<u64>, findings: &mut Vec<Finding>) {
    findings.extend(memory_mb.and_then(|total| memory(loaded, total)));
    findings.extend(cgroups(limits_memory()));
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
    fn who_else_may_deny() {
        assert!(selinux(Some("1\n")).is_some() && selinux(Some("0")).is_none() && selinux(None).is_none());
        assert!(cgroups(true).is_none() && cgroups(false).is_some());
        let profiles = "/usr/sbin/cupsd (enforce)\n/usr/bin/php8.2 (complain)\nphp-fpm (enforce)\n";
        let of = |profiles: &str| apparmor(profiles, Path::new("/usr/bin/php"), Path::new("/usr/bin/php8.2"));
        assert_eq!(of(profiles), None);
        assert!(of(&profiles.replace("complain", "enforce")).unwrap().what.contains("/usr/bin/php8.2"));
    }
}
