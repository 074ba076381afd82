//! Checks the app's units, as systemd reports them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::SystemTime;

use super::finding::Finding;
use kqueue_control::{blocks, show};
use kqueue_system::identity::Account;

/// The oldest systemd with the features that kqueue needs.
const OLDEST: u32 = 252;

/// Checks the units of an app with the config file `file`.
pub(super) async fn judge(app: &str, file: &Path, user: Option<&Account>) -> Vec<Finding> {
    if !sd_notify::booted().unwrap_or(false) {
        let what = "systemd is not running here: nothing limits the memory of jobs or starts the app at boot";
        return vec![Finding::note("systemd", what, format!("start the app by hand: kqueue run {app}"))];
    }
    let units = ["kqueue.socket".to_owned(), format!("kqueue@{app}.service")];
    let shown = show("Id,LoadState,ActiveState,UnitFileState,DropInPaths,User,Result", &units).await;
    let shown = match shown {
        Ok(shown) => shown,
        Err(why) => {
            let what = format!("cannot query systemd: {why}");
            return vec![Finding::warning("systemd", what, "systemctl status shows whether systemd works")];
        }
    };
    let changed = |file: &Path| fs::metadata(file).and_then(|metadata| metadata.modified()).ok();
    let mut findings = units_of(app, &blocks(&shown), user, changed(file), &|path| changed(Path::new(path)));
    if let Some(version) = version().await.filter(|version| *version < OLDEST) {
        let what = format!("systemd {version} is older than {OLDEST}, and lacks features that the units use");
        findings.push(Finding::warning(
            "systemd",
            what,
            "Debian 12, Ubuntu 24.04, Fedora 37 and RHEL 9 have a newer one",
        ));
    }
    findings
}

async fn version() -> Option<u32> {
    let shown = show("Version", &[]).await.ok()?;
    let version = shown.trim().strip_prefix("Version=")?;
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Judges the output of `systemctl show`. `written` is the modification time of the config file, `changed` returns that
/// of other files.
fn units_of(
    app: &str,
    blocks: &[BTreeMap<&str, &str>],
    user: Option<&Account>,
    written: Option<SystemTime>,
    changed: &dyn Fn(&str) -> Option<SystemTime>,
) -> Vec<Finding> {
    let value = |end: &str, name: &str| {
        let unit = blocks.iter().find(|unit| unit.get("Id").is_some_and(|id| id.ends_with(end)));
        unit.and_then(|unit| unit.get(name)).copied().unwrap_or_default()
    };
    if value(".service", "LoadState") == "not-found" || value(".socket", "LoadState") == "not-found" {
        return vec![Finding::error(
            "units",
            "kqueue's units are not installed",
            "install kqueue again; systemctl cat kqueue@.service shows them",
        )];
    }
    let mut findings = Vec::new();
    if value(".socket", "LoadState") == "masked" {
        findings.push(Finding::error(
            "units",
            "kqueue.socket is masked, and no app gets workers without it",
            "systemctl unmask kqueue.socket",
        ));
    } else if value(".socket", "UnitFileState") == "disabled" {
        findings.push(Finding::note(
            "units",
            "kqueue.socket is not enabled; the first app that starts also starts it",
            "systemctl enable --now kqueue.socket",
        ));
    }
    let unit = format!("kqueue@{app}.service");
    if value(".service", "LoadState") == "masked" {
        findings.push(Finding::error("units", format!("{unit} is masked"), format!("systemctl unmask {unit}")));
        return findings;
    }
    let ours = format!("/{unit}.d/50-kqueue.conf");
    let drop_in = value(".service", "DropInPaths").split(' ').find(|path| path.ends_with(&ours));
    let reload = "systemctl daemon-reload; if that does not help, journalctl -t kqueue-generator";
    let runs_as = value(".service", "User");
    match drop_in {
        None => {
            findings.push(Finding::error(
                "units",
                format!("systemd has not generated {unit} from the app's config file yet"),
                reload,
            ));
            return findings;
        }
        Some(path) if changed(path).zip(written).is_some_and(|(made, written)| written > made) => {
            findings.push(Finding::warning(
                "units",
                "the app's config file has changed since systemd generated the units from it",
                format!("systemctl daemon-reload, then systemctl reload kqueue@{app}"),
            ))
        }
        Some(_) if user.is_some_and(|user| runs_as != user.name && runs_as.parse() != Ok(user.uid)) => {
            let name = user.map_or("", |user| user.name.as_str());
            findings.push(Finding::error(
                "units",
                format!("{unit} runs as {runs_as:?}, but the app's user is {name}"),
                reload,
            ));
        }
        Some(_) => {}
    }
    if value(".service", "ActiveState") == "failed" {
        let what = format!("{unit} has failed ({})", value(".service", "Result"));
        findings.push(Finding::error("units", what, format!("journalctl -u kqueue@{app} -n 20 shows the reason")));
    }
    if value(".service", "UnitFileState") == "disabled" {
        let runs = value(".service", "ActiveState") == "active";
        let what = if runs { "runs, but is not started at boot" } else { "is not enabled: nothing starts it at boot" };
        findings.push(Finding::note("units", format!("{unit} {what}"), format!("systemctl enable --now kqueue@{app}")));
    }
    findings
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SERVICE: &str = "Id=kqueue@shop.service\nLoadState=loaded\nActiveState=active\nUnitFileState=enabled\nUser=1000\nResult=success\n\
         DropInPaths=/etc/x.conf /run/systemd/generator/kqueue@shop.service.d/50-kqueue.conf";
    const SOCKET: &str = "Id=kqueue.socket\nLoadState=loaded\nActiveState=active\nUnitFileState=enabled";

    /// The findings for a file that is `newer` seconds newer than the drop-in.
    fn found(service: &str, socket: &str, newer: u64) -> Vec<String> {
        let user = Account { name: "shop".into(), uid: 1000, gid: 1000, home: "/".into(), shell: "/bin/sh".into() };
        let made = SystemTime::UNIX_EPOCH;
        let text = format!("{socket}\n\n{service}\n");
        let written = Some(made + Duration::from_secs(newer));
        let findings = units_of("shop", &blocks(&text), Some(&user), written, &|_| Some(made));
        findings.into_iter().map(|finding| format!("{}: {}", finding.severity.word(), finding.what)).collect()
    }

    #[test]
    fn all_is_well() {
        assert_eq!(found(SERVICE, SOCKET, 0), [""; 0]);
        assert_eq!(found(&SERVICE.replace("User=1000", "User=shop"), SOCKET, 0), [""; 0]);
    }

    #[test]
    fn each_fault_is_told() {
        let one = |service: &str, socket: &str, newer| {
            let found = found(service, socket, newer);
            assert_eq!(found.len(), 1, "{found:?}");
            found[0].clone()
        };
        assert!(one(&SERVICE.replace("loaded", "not-found"), SOCKET, 0).contains("not installed"));
        assert!(one(&SERVICE.replace("loaded", "masked"), SOCKET, 0).ends_with("is masked"));
        assert!(one(&SERVICE.replace("50-kqueue", "50-other"), SOCKET, 0).contains("has not generated"));
        assert!(one(SERVICE, SOCKET, 5).starts_with("warning: the app's config file has changed"));
        assert!(one(&SERVICE.replace("1000", "33"), SOCKET, 0).contains("the app's user is shop"));
        assert!(
            one(&SERVICE.replace("=active", "=failed").replace("success", "exit-code"), SOCKET, 0)
                .contains("(exit-code)")
        );
        assert!(one(&SERVICE.replace("enabled", "disabled"), SOCKET, 0).contains("not started at boot"));
        assert!(one(SERVICE, &SOCKET.replace("loaded", "masked"), 0).starts_with("error: kqueue.socket"));
        assert!(one(SERVICE, &SOCKET.replace("=enabled", "=disabled"), 0).starts_with("note: kqueue.socket"));
    }
}
