//! Finds what else works the same queue: running processes, and what supervisord, systemd or cron would start.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::finding::Finding;
use crate::cli::command::{Dialect, Kind, Reading, Work};
use crate::cli::import::source::listed;
use crate::cli::import::{cron, supervisor, unit};
use kqueue_config::Claim;

/// The app and queues worked here.
#[derive(Debug)]
pub(super) struct Own<'a> {
    pub path: &'a Path,
    /// Its connection, if known from the app.
    pub connection: Option<&'a str>,
    /// The app's default connection, if known.
    pub usual: Option<&'a str>,
    pub queues: &'a [String],
    /// The queue worked if none is named.
    pub own_queue: Option<&'a str>,
}

impl Own<'_> {
    /// Whether `work`, in `cwd`, works one of our queues.
    fn meets(&self, work: &Work, cwd: Option<&Path>) -> bool {
        work.kind != Kind::Schedule && work.app(cwd).is_some_and(|path| self.is_here(&path)) && self.shares(work)
    }

    fn is_here(&self, path: &Path) -> bool {
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        path == self.path || real(path) == real(self.path)
    }

    fn shares(&self, work: &Work) -> bool {
        let all = work.kind == Kind::Horizon && work.option("queue").is_none();
        all || self.overlaps(work.connection.as_deref(), work.queues())
    }

    /// Whether these queues of this connection, or the app's defaults if not given, are among ours. True if unknown.
    fn overlaps(&self, connection: Option<&str>, queues: Option<Vec<String>>) -> bool {
        let theirs = connection.or(self.usual);
        let same = theirs.zip(self.connection).is_none_or(|(theirs, ours)| theirs == ours);
        let queues = queues.or_else(|| Some(vec![self.own_queue?.to_owned()]));
        same && queues.is_none_or(|theirs| theirs.iter().any(|queue| self.queues.contains(queue)))
    }
}

/// Searches below `root`, normally `/`.
pub(super) fn find(own: &Own<'_>, root: &Path) -> Vec<Finding> {
    let mut findings = processes(own, &root.join("proc"));
    findings.extend(supervisors(own, root));
    findings.extend(units(own, root));
    findings.extend(crontabs(own, root));
    findings
}

/// Other config files of kqueue that work one of our queues. `claims` are those of other apps.
pub(super) fn namesakes(own: &Own<'_>, claims: impl Iterator<Item = (String, Claim)>) -> Vec<Finding> {
    let met = claims.filter(|(_, claim)| {
        let queues = (!claim.queues.is_empty()).then(|| claim.queues.clone());
        own.is_here(&claim.path) && own.overlaps(claim.connection.as_deref(), queues)
    });
    met.map(|(app, _)| {
        Finding::warning(
            "rival",
            format!(
                "/etc/kqueue/{app}.toml works a queue of this app too: each applies its limits and order separately"
            ),
            "give each file queues of its own, or keep only one of them",
        )
    })
    .collect()
}

fn processes(own: &Own<'_>, proc: &Path) -> Vec<Finding> {
    let mut found: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir(proc).into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let words: Vec<String> = fs::read(entry.path().join("cmdline"))
            .unwrap_or_default()
            .split(|byte| *byte == 0)
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .filter(|word| !word.is_empty())
            .collect();
        let Some(work) = Work::parse(&words) else { continue };
        let cwd = fs::read_link(entry.path().join("cwd")).ok();
        if own.meets(&work, cwd.as_deref()) {
            let what = match work.kind {
                Kind::Work => "queue:work",
                Kind::Listen => "queue:listen",
                Kind::Horizon => "Horizon",
                Kind::Schedule => continue,
            };
            found.entry(what).or_default().push(pid);
        }
    }
    let tell = |(what, mut pids): (&str, Vec<u32>)| {
        pids.sort_unstable();
        let list: Vec<String> = pids.iter().take(5).map(u32::to_string).collect();
        let more = if pids.len() > 5 { ", …" } else { "" };
        Finding::warning(
            "rival",
            format!(
                "{what} works this app's queue too (process {}{more}): its jobs run without kqueue",
                list.join(", ")
            ),
            match what {
                "Horizon" => {
                    "stop what keeps it running, then php artisan horizon:terminate; kqueue import horizon converts its settings"
                }
                _ => {
                    "stop what keeps it running (supervisorctl status, systemctl status PID); kqueue import supervisor converts its settings"
                }
            },
        )
    };
    found.into_iter().map(tell).collect()
}

fn supervisors(own: &Own<'_>, root: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    let own_files = ["etc/supervisor/supervisord.conf", "etc/supervisord.conf"].map(|file| root.join(file));
    let all = listed(&root.join("etc/supervisor/conf.d"), ".conf")
        .into_iter()
        .chain(listed(&root.join("etc/supervisord.d"), ".ini"));
    for file in all.chain(own_files) {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        let programs = supervisor::programs(&text, &file, &|_| None);
        for program in programs.iter().filter(|program| program.autostart) {
            let mut works = program.readings.iter().flat_map(|(reading, _)| &reading.works);
            if works.any(|work| own.meets(work, program.directory.as_deref())) {
                let name = &program.name;
                findings.push(Finding::warning(
                    "rival",
                    format!("supervisord starts {name} of {}, which works this app's queue too", file.display()),
                    format!("kqueue import supervisor {} converts its settings; then remove it there, and run supervisorctl update", file.display()),
                ));
            }
        }
    }
    findings
}

fn crontabs(own: &Own<'_>, root: &Path) -> Vec<Finding> {
    let mut all = vec![root.join("etc/crontab")];
    for directory in ["etc/cron.d", "var/spool/cron/crontabs", "var/spool/cron"] {
        all.extend(listed(&root.join(directory), ""));
    }
    let mut findings = Vec::new();
    for file in all.iter().filter(|file| file.is_file()) {
        let Ok(text) = fs::read_to_string(file) else { continue };
        for line in cron::lines(&text, Some(cron::has_users(file))) {
            let works = Reading::of(&line.command, Dialect::Shell, &|_| None).works;
            if works.iter().any(|work| own.meets(work, None)) {
                findings.push(Finding::warning(
                    "rival",
                    format!("cron works this app's queue too: {}, line {}", file.display(), line.number),
                    format!("remove that line; kqueue import cron {} converts its settings", file.display()),
                ));
            }
        }
    }
    findings
}

fn units(own: &Own<'_>, root: &Path) -> Vec<Finding> {
    let mut names: Vec<String> = unit::works(root)
        .into_iter()
        .filter(|(_, work, directory)| own.meets(work, Some(directory)))
        .map(|(name, ..)| name)
        .collect();
    names.sort();
    names.dedup();
    let tell = |name: String| {
        Finding::warning(
            "rival",
            format!("{name} is enabled in systemd, and works this app's queue too"),
            format!("systemctl disable --now {}", name.replace("@.", "@….")),
        )
    };
    names.into_iter().map(tell).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn put(root: &Path, file: &str, text: &str) {
        let file = root.join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    /// The findings for an app with queues high and default on its default connection, redis.
    fn found(root: &Path) -> Vec<String> {
        let queues = ["high".to_owned(), "default".to_owned()];
        let path = root.join("srv/shop");
        let own = Own {
            path: &path,
            connection: Some("redis"),
            usual: Some("redis"),
            queues: &queues,
            own_queue: Some("default"),
        };
        find(&own, root).into_iter().map(|finding| finding.what.replace(root.to_str().unwrap(), "")).collect()
    }

    #[test]
    fn whoever_works_the_same_queue() {
        let dir = tempfile::Builder::new().prefix("kq").tempdir().unwrap();
        let root = dir.path();
        let shop = root.join("srv/shop");
        fs::create_dir_all(&shop).unwrap();
        symlink(&shop, root.join("srv/current")).unwrap();
        let process = |pid: u32, line: &str| {
            put(root, &format!("proc/{pid}/cmdline"), &line.replace("SHOP", shop.to_str().unwrap()).replace(' ', "\0"));
            symlink(root.join("srv/current"), root.join(format!("proc/{pid}/cwd"))).unwrap();
        };
        process(7, "php artisan queue:work --sleep=3");
        process(12, "php SHOP/artisan queue:work redis --queue=low,high");
        // Another queue, connection or app, or no queue at all.
        process(13, "php artisan queue:work --queue=mail");
        process(14, "php artisan queue:work database");
        process(15, "php /srv/other/artisan queue:work");
        process(16, "php artisan schedule:work");
        process(17, "php artisan horizon:work redis --queue=mail");
        assert_eq!(found(root), ["queue:work works this app's queue too (process 7, 12): its jobs run without kqueue"]);
        process(18, "php artisan horizon");
        assert!(found(root).iter().any(|what| what.starts_with("Horizon works")));
    }

    #[test]
    fn another_file_for_the_same_queue() {
        let queues = ["high".to_owned(), "default".to_owned()];
        let own = Own {
            path: Path::new("/srv/shop"),
            connection: Some("redis"),
            usual: Some("redis"),
            queues: &queues,
            own_queue: Some("default"),
        };
        let claim = |path: &str, connection: Option<&str>, queues: &[&str]| Claim {
            path: path.into(),
            connection: connection.map(str::to_owned),
            queues: queues.iter().map(|queue| (*queue).to_owned()).collect(),
        };
        for (claim, meets) in [
            (claim("/srv/shop", None, &[]), true),
            (claim("/srv/shop", Some("redis"), &["mail", "high"]), true),
            (claim("/srv/shop", None, &["mail"]), false),
            (claim("/srv/shop", Some("database"), &[]), false),
            (claim("/srv/blog", None, &[]), false),
        ] {
            let found = namesakes(&own, [("other".to_owned(), claim.clone())].into_iter());
            assert_eq!(found.len(), usize::from(meets), "{claim:?}");
        }
    }

    #[test]
    fn what_would_be_started() {
        let dir = tempfile::Builder::new().prefix("kq").tempdir().unwrap();
        let root = dir.path();
        let shop = root.join("srv/shop").display().to_string();
        put(
            root,
            "etc/supervisor/conf.d/w.conf",
            &format!(
                "[program:w]\ncommand=php {shop}/artisan queue:work\n[program:off]\ncommand=php {shop}/artisan queue:work\nautostart=false\n"
            ),
        );
        let unit = format!("[Service]\nWorkingDirectory={shop}\nExecStart=-/usr/bin/php artisan queue:work\n");
        for name in ["old.service", "idle.service", "many@.service"] {
            put(root, &format!("etc/systemd/system/{name}"), &unit);
        }
        put(
            root,
            "etc/cron.d/shop",
            &format!(
                "* * * * * www-data cd {shop} && php artisan queue:work --once\n* * * * * www-data php {shop}/artisan schedule:run\n"
            ),
        );
        // Its command is in a drop-in, with a specifier and a continued line.
        put(root, "etc/systemd/system/late@.service", "[Service]\nExecStart=/bin/true\n");
        put(
            root,
            "etc/systemd/system/late@.service.d/run.conf",
            &format!("[Service]\nExecStart=\nExecStart=/usr/bin/php {shop}/artisan queue:work \\\n  --queue=%i\n"),
        );
        for name in ["old.service", "many@1.service", "late@high.service", "late@mail.service"] {
            put(root, &format!("etc/systemd/system/multi-user.target.wants/{name}"), "");
        }
        assert_eq!(
            found(root),
            [
                "supervisord starts w of /etc/supervisor/conf.d/w.conf, which works this app's queue too",
                "late@.service is enabled in systemd, and works this app's queue too",
                "many@.service is enabled in systemd, and works this app's queue too",
                "old.service is enabled in systemd, and works this app's queue too",
                "cron works this app's queue too: /etc/cron.d/shop, line 1",
            ]
        );
    }
}
