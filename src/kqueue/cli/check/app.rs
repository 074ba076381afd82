//! Checks the app itself, from the findings of a survey. Pure.

use std::path::{Component, Path, PathBuf};

use super::finding::Finding;
use super::{classes, connections};
use crate::survey::{Found, Master, Stage, boot_fix, connection_fix};
use kqueue_config::{Crash, Settings, Start};

/// Judges the findings. `user` is the app's user, `rival` whether something else works its queue.
pub(super) fn judge(settings: &Settings, user: &str, found: &Found, rival: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    failure(settings, user, found, &mut findings);
    if found.php.is_some() && found.stage() != Some(Stage::Php) {
        interpreter(found, &mut findings);
    }
    storage(&settings.path, user, found, &mut findings);
    environment(user, found, &mut findings);
    boot(settings, found, &mut findings);
    cache(found, &mut findings);
    horizon(settings, found, &mut findings);
    classes::judge(settings, &found.declared, &mut findings);
    connections::judge(settings, found, &mut findings);
    if found.driver.is_some() && !found.native {
        retry_after(settings, found, rival, &mut findings);
    }
    findings
}

fn failure(settings: &Settings, user: &str, found: &Found, findings: &mut Vec<Finding>) {
    let path = settings.path.display();
    let Some(failure) = &found.failed else { return };
    // It explains any other error of the connection.
    if let Some(lacks) = found.lacks.as_ref().filter(|lacks| is_package(lacks)) {
        return findings.push(missing(lacks, found));
    }
    let text = &failure.text;
    findings.push(match failure.stage {
        Stage::Php => Finding::error(
            "php",
            text.as_str(),
            "install PHP 8.1 or later (php-cli), or set its path: php = \"/usr/bin/php8.4\"",
        ),
        Stage::Boot => {
            let php = settings.php.display();
            let fix = boot_fix(failure.fault, text, &settings.path)
                .unwrap_or_else(|| format!("runuser -u {user} -- {php} {path}/artisan list shows the error; fix it"));
            Finding::error("boot", format!("the app does not boot as {user}: {text}"), fix)
        }
        Stage::Connection => {
            // The text may come from the app or a server: no part of it is ever used as the fix.
            let (what, fix) = connection_fix(text);
            let known = failure.fault.and_then(|fault| boot_fix(Some(fault), text, &settings.path));
            Finding::error("connection", what, known.unwrap_or_else(|| fix.to_owned()))
        }
        Stage::Queue => {
            let connection = found.connection.as_deref().unwrap_or_default();
            let what = format!("the queue of connection {connection} does not answer: {text}");
            Finding::error("queue", what, "start its server, or correct this connection in .env and config/ of the app")
        }
    });
}

/// Whether it can be the name of an extension or a package, with no characters special to a shell.
fn is_package(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-' | '/');
    name.starts_with(|c: char| c.is_ascii_lowercase()) && name.len() <= 40 && name.chars().all(plain)
}

fn missing(lacks: &str, found: &Found) -> Finding {
    let connection = found.connection.as_deref().unwrap_or_default();
    if lacks.contains('/') {
        let what = format!("connection {connection} needs {lacks}, which is not installed in the app");
        let fix = match lacks {
            "aws/aws-sdk-php" => "composer require aws/aws-sdk-php",
            _ => "composer require predis/predis, or REDIS_CLIENT=phpredis",
        };
        return Finding::error("extension", what, fix);
    }
    let what = format!("connection {connection} needs PHP's extension {lacks}, which is not loaded");
    // By known names only, since the text comes from the app.
    let fix = match lacks {
        "redis" => "install it: php-redis in Debian; php -m lists the loaded extensions",
        "pdo_sqlite" => "install it: php-sqlite3 in Debian; php -m lists the loaded extensions",
        "pdo_mysql" => "install it: php-mysql in Debian; php -m lists the loaded extensions",
        "pdo_pgsql" => "install it: php-pgsql in Debian; php -m lists the loaded extensions",
        _ => "install it; php -m lists the loaded extensions",
    };
    Finding::error("extension", what, fix)
}

/// Checks the duties of Horizon's master process.
fn horizon(settings: &Settings, found: &Found, findings: &mut Vec<Finding>) {
    let Some(master) = &found.master else { return };
    findings.push(match &master.lacks {
        _ if !settings.horizon => Finding::note(
            "horizon",
            format!("the queue is Horizon's, but horizon = false: {}", Master::DUTIES),
            "set horizon = true, unless `php artisan horizon` runs elsewhere for this app",
        ),
        Some(class) => Finding::warning(
            "horizon",
            format!("this version of Horizon has no {class}: {}", Master::DUTIES),
            "composer update laravel/horizon, to 5.0 or later",
        ),
        None if !(found.fork && found.posix) => Finding::warning(
            "horizon",
            "PHP has no pcntl or no posix: horizon:pause, horizon:continue and horizon:terminate do not reach kqueue",
            "install both (php-process in Fedora)",
        ),
        None => return,
    });
}

fn interpreter(found: &Found, findings: &mut Vec<Finding>) {
    if found.failed.is_none()
        && let Some(lacks) = &found.lacks
    {
        findings.push(missing(lacks, found));
    }
    if !found.fork {
        findings.push(Finding::warning(
            "extension",
            "PHP cannot fork (pcntl is missing or disabled): every process boots the app, and only the runtime enforces timeouts",
            "install pcntl (php-process in Fedora), or take pcntl_fork and pcntl_waitpid out of disable_functions",
        ));
    }
    if !found.posix {
        findings.push(Finding::warning(
            "extension",
            "PHP has no posix, which Laravel's timeout handler and forked processes need to exit at once",
            "install posix (php-process in Fedora)",
        ));
    }
    if found.fork && !found.ffi {
        findings.push(Finding::note(
            "ffi",
            "PHP has no FFI: output is assigned to jobs by process, and a line of a short-lived child process may lack its job",
            "install php-ffi or set ffi.enable=1 for PHP's command line, if this matters",
        ));
    }
}

fn storage(path: &Path, user: &str, found: &Found, findings: &mut Vec<Finding>) {
    if found.unwritable.is_empty() {
        return;
    }
    let names: Vec<String> =
        found.unwritable.iter().map(|file| file.strip_prefix(path).unwrap_or(file).display().to_string()).collect();
    let all: Vec<String> = found.unwritable.iter().map(|file| file.display().to_string()).collect();
    // The app reports the files: it must not gain ownership of others.
    let inside = |file: &PathBuf| file.starts_with(path) && !file.components().any(|part| part == Component::ParentDir);
    let fix = if found.unwritable.iter().all(inside) {
        format!("chown -R {user} {}", shell_words::join(&all))
    } else {
        format!("make them writable for {user}; not all of them are inside {}", path.display())
    };
    findings.push(Finding::error("storage", format!("{user} cannot write to {}", names.join(", ")), fix));
}

/// Laravel takes an unreadable `.env` for none.
fn environment(user: &str, found: &Found, findings: &mut Vec<Finding>) {
    if found.unreadable.is_some() {
        findings.push(Finding::error(
            "environment",
            format!("{user} cannot read .env, so the app runs with the defaults of its config/"),
            format!("make it readable for {user}: setfacl -m u:{user}:r .env in the app's directory, or give it to {user}'s group"),
        ));
    }
}

/// Checks connections opened during boot, and the setup in `artisan`.
fn boot(settings: &Settings, found: &Found, findings: &mut Vec<Finding>) {
    for held in found.held.iter().filter(|_| found.fork && settings.start == Start::Fork) {
        let opened = held.opened.as_ref().map(|opened| format!(", opened {opened}")).unwrap_or_default();
        findings.push(Finding::warning(
            "boot-connection",
            format!(
                "the app holds {}{opened}, after its boot: its processes must not share it, so each boots the app's providers itself, which takes longer",
                held.name
            ),
            "open it on first use, or list it in fork_safe_peers if it may be shared",
        ));
    }
    if let Some(why) = &found.artisan {
        findings.push(Finding::warning(
            "artisan",
            format!("the setup in artisan (umask, constants, ini settings) is not applied: {why}"),
            "move it to bootstrap/app.php; for a umask alone, set umask = \"0002\"",
        ));
    }
}

fn cache(found: &Found, findings: &mut Vec<Finding>) {
    let Some(cache) = &found.cache else { return };
    if matches!(cache.driver.as_str(), "array" | "null") {
        findings.push(Finding::warning(
            "cache",
            format!(
                "the cache store {} has the driver `{}`, which processes do not share: queue:restart and queue:pause have no effect, unique jobs are not unique",
                cache.store, cache.driver
            ),
            "set CACHE_STORE=file, database or redis in .env (CACHE_DRIVER before Laravel 11)",
        ));
    }
}

fn retry_after(settings: &Settings, found: &Found, rival: bool, findings: &mut Vec<Finding>) {
    let connection = found.connection.as_deref().unwrap_or_default();
    let Some(retry_after) = found.retry_after else {
        // SQS has its own, a setting of the queue.
        if settings.crash == Crash::Laravel && found.driver.as_deref() != Some("sqs") {
            findings.push(Finding::warning(
                "retry-after",
                format!("crash = \"laravel\" leaves a job whose process died to retry_after, but connection {connection} has none: such a job never runs again"),
                "set retry_after in config/queue.php, or crash = \"replay\"",
            ));
        }
        return;
    };
    let timeout = settings.timeout;
    let needed = timeout.map(|timeout| timeout + settings.timeout_grace);
    if needed.is_some_and(|needed| needed.as_secs_f64() < retry_after as f64) {
        return;
    }
    let may = timeout.map_or("without limit".to_owned(), |timeout| format!("{} s", timeout.as_secs_f64()));
    let above = needed.map_or("the longest job's time".to_owned(), |needed| format!("{}", needed.as_secs() + 1));
    let what = format!("a job may run {may}, and retry_after of connection {connection} is {retry_after} s");
    let raise = format!("retry_after = {above} or more in config/queue.php, or a shorter timeout");
    findings.push(if !settings.renew {
        Finding::error("retry-after", format!("{what}: with renew = false a longer job runs twice"), raise)
    } else if rival {
        Finding::warning(
            "retry-after",
            format!("{what}: kqueue renews its reservations, but other workers of this queue do not"),
            raise,
        )
    } else {
        Finding::note(
            "retry-after",
            format!("{what}: kqueue renews reservations, so no job runs twice; under `queue:work` it would"),
            raise,
        )
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::check::finding::Severity;
    use kqueue_config::{Surroundings, load_text};

    fn settings(lines: &str) -> Settings {
        let dir = tempfile::Builder::new().prefix("kq").tempdir().unwrap();
        std::fs::write(dir.path().join("artisan"), "").unwrap();
        let text = format!("path = {:?}\nphp = \"/bin/sh\"\n{lines}", dir.path());
        let here = Surroundings::read().unwrap();
        load_text("shop", &dir.path().join("shop.toml"), &text, &here).unwrap().settings
    }

    fn healthy() -> Found {
        let text = |text: &str| Some(text.to_owned());
        Found {
            php: text("8.4.1"),
            fork: true,
            posix: true,
            ffi: true,
            laravel: text("13.0"),
            connection: text("redis"),
            driver: text("redis"),
            retry_after: Some(90),
            ..Found::default()
        }
    }

    #[test]
    fn retry_after_and_the_timeout() {
        let severity = |lines: &str, retry_after, rival| {
            let found = Found { retry_after, ..healthy() };
            let findings = judge(&settings(lines), "shop", &found, rival);
            assert!(findings.len() < 2, "{findings:?}");
            findings.first().map(|finding| finding.severity)
        };
        assert_eq!(severity("", Some(90), true), None);
        assert_eq!(severity("timeout = 90", Some(90), false), Some(Severity::Note));
        assert_eq!(severity("timeout = 90", Some(90), true), Some(Severity::Warning));
        assert_eq!(severity("timeout = 90\nrenew = false", Some(90), false), Some(Severity::Error));
        // The grace period counts, and so does a job without limit.
        assert_eq!(severity("timeout = 88\nrenew = false", Some(90), false), Some(Severity::Error));
        assert_eq!(severity("timeout = 80\nrenew = false", Some(90), false), None);
        assert_eq!(severity("timeout = 0\nrenew = false", Some(90), false), Some(Severity::Error));
        assert_eq!(severity("", None, false), None);
        assert_eq!(severity("crash = \"laravel\"", None, false), Some(Severity::Warning));
    }

    #[test]
    fn what_nobody_does_for_horizon() {
        let told = |lines: &str, found: Found| {
            let findings = judge(&settings(lines), "shop", &found, false);
            let horizon = findings.into_iter().find(|finding| finding.check == "horizon");
            horizon.map(|finding| format!("{} {}", finding.severity.word(), finding.what))
        };
        let horizon =
            |lacks: Option<&str>| Found { master: Some(Master { lacks: lacks.map(str::to_owned) }), ..healthy() };
        assert_eq!(told("", healthy()), None);
        assert_eq!(told("", horizon(None)), None);
        assert!(
            told("horizon = false", horizon(None))
                .unwrap()
                .starts_with("note the queue is Horizon's, but horizon = false")
        );
        assert!(told("", horizon(Some("Some\\Contract"))).unwrap().contains("has no Some\\Contract: nothing trims"));
        assert!(
            told("", Found { fork: false, ..horizon(None) })
                .unwrap()
                .starts_with("warning PHP has no pcntl or no posix")
        );
    }

    #[test]
    fn what_php_lacks() {
        let told = |found: Found| {
            let findings = judge(&settings(""), "shop", &found, false);
            findings
                .into_iter()
                .map(|finding| format!("{} {}", finding.severity.word(), finding.what))
                .collect::<Vec<_>>()
        };
        let lacks = |what: &str| told(Found { lacks: Some(what.to_owned()), ..healthy() });
        assert!(lacks("redis")[0].starts_with("error connection redis needs PHP's extension redis"));
        assert!(lacks("predis/predis")[0].starts_with("error connection redis needs predis/predis"));
        assert!(told(Found { fork: false, ..healthy() })[0].starts_with("warning PHP cannot fork"));
        assert!(told(Found { posix: false, ..healthy() })[0].starts_with("warning PHP has no posix"));
        assert!(told(Found { ffi: false, ..healthy() })[0].starts_with("note PHP has no FFI"));
    }
}
