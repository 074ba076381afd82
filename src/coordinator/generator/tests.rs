//! Compares the drop-ins generated from trees of settings with the expected ones in `golden`.
//!
//! `KQUEUE_GOLDEN=write cargo test generator` rewrites the expected ones; check the difference before you commit it.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::*;

/// Appends the sorted files as `== NAME` and their text, and links as `== NAME -> TARGET`.
fn show(root: &Path, under: &Path, text: &mut String) {
    let mut entries: Vec<_> = fs::read_dir(under).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let name = path.strip_prefix(root).unwrap().display();
        if path.is_symlink() {
            writeln!(text, "== {name} -> {}", fs::read_link(&path).unwrap().display()).unwrap();
            assert!(path.is_file(), "{name} leads nowhere");
        } else if path.is_dir() {
            show(root, &path, text);
        } else {
            writeln!(text, "== {name}\n{}", fs::read_to_string(&path).unwrap()).unwrap();
        }
    }
}

fn owner(path: &Path) -> Result<u32, String> {
    match path.to_str() {
        Some("/srv/of-root") => Ok(0),
        Some("/mnt/not-there") => Err("does not exist".into()),
        _ => Ok(1000),
    }
}

#[test]
fn fuzz_settings_of_root() {
    let seeds = kqueue_fuzz::files("src/coordinator/generator/golden");
    let seeds: Vec<&[u8]> = seeds.iter().map(Vec::as_slice).collect();
    let dir = tempfile::Builder::new().prefix("kq").tempdir().unwrap();
    let mut here = Surroundings::read().unwrap();
    here.etc = dir.path().to_owned();
    kqueue_fuzz::fuzz("settings", &seeds, |input| {
        fs::write(here.etc.join("shop.toml"), input).unwrap();
        let settled = config::root("shop", &here).and_then(|settings| Ok((user(&settings, &owner)?, settings)));
        let texts = match settled {
            Ok((user, settings)) => {
                let app = App { user, settings };
                vec![drop_ins::runtime(&app), drop_ins::socket(&app), drop_ins::worker(&app), drop_ins::schedule(&app)]
            }
            Err(error) => vec![drop_ins::refusal(&here.etc, "shop", &error.to_string())],
        };
        // Every line is the generator's: no text of the settings starts a line of its own.
        for line in texts.iter().flat_map(|text| text.split('\n')) {
            let known = line.is_empty()
                || line.starts_with(['#', '['])
                || line.split_once('=').is_some_and(|(key, _)| {
                    key.starts_with(|c: char| c.is_ascii_uppercase()) && key.chars().all(|c| c.is_ascii_alphabetic())
                });
            assert!(known && !line.contains(|c: char| c.is_control()), "{line:?}");
        }
        for section in texts.iter().flat_map(|text| text.lines()).filter(|line| line.starts_with('[')) {
            assert!(["[Unit]", "[Service]", "[Socket]"].contains(&section), "{section:?}");
        }
        let _ = config::load_text("shop", &here.etc.join("shop.toml"), &String::from_utf8_lossy(input), &here);
    });
}

fn golden(case: &str) {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("generator/golden").join(case);
    let dir = tempfile::Builder::new().prefix("kq").tempdir().unwrap();
    let (etc, out) = (dir.path().join("etc"), dir.path().join("out"));
    fs::create_dir(&etc).unwrap();
    fs::create_dir(&out).unwrap();
    for entry in fs::read_dir(kept.join("etc")).unwrap() {
        let entry = entry.unwrap();
        // Not copied with their modes: whether others may write depends on the checkout.
        fs::write(etc.join(entry.file_name()), fs::read(entry.path()).unwrap()).unwrap();
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(etc.join(entry.file_name()), fs::Permissions::from_mode(0o644)).unwrap();
    }
    let mut here = Surroundings::read().unwrap();
    here.etc = etc.clone();
    (here.var_lib, here.run) = (dir.path().join("lib"), dir.path().join("run"));
    here.memory_mb = Some(24_000);
    let faults = generate(&here, &out, &owner).unwrap();
    let mut text = String::new();
    for fault in faults {
        writeln!(text, "!! {}: {}", fault.app, fault.line).unwrap();
    }
    show(&out, &out, &mut text);
    let text = text.replace(etc.to_str().unwrap(), "/etc/kqueue");
    let expected = kept.join("expected");
    if std::env::var_os("KQUEUE_GOLDEN").is_some_and(|value| value == "write") {
        fs::write(&expected, &text).unwrap();
    }
    assert_eq!(text, fs::read_to_string(&expected).unwrap(), "{case}");
}

#[test]
fn one_app() {
    golden("one");
}

#[test]
fn several_apps_and_odd_values() {
    golden("odd");
}

#[test]
fn what_is_broken_costs_only_itself() {
    golden("broken");
}

#[test]
fn what_another_user_has_filled_is_not_given_away() {
    let dir = tempfile::Builder::new().prefix("kq").tempdir().unwrap();
    let mut here = Surroundings::read().unwrap();
    here.etc = dir.path().join("etc");
    (here.var_lib, here.run) = (dir.path().join("lib"), dir.path().join("run"));
    for directory in [&here.etc, &here.var_lib.join("shop"), &here.run.join("shop")] {
        fs::create_dir_all(directory).unwrap();
    }
    let me = nix::unistd::geteuid().as_raw();
    let settings = |user: u32| {
        use std::os::unix::fs::PermissionsExt;
        let file = here.etc.join("shop.toml");
        fs::write(&file, format!("path = \"/srv/shop\"\nuser = \"{user}\"\n")).unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(0o644)).unwrap();
    };
    let runtime = || {
        let out = dir.path().join("out");
        let _ = fs::remove_dir_all(&out);
        let faults = generate(&here, &out, &owner).unwrap();
        (faults, fs::read_to_string(out.join("kqueue@shop.service.d").join(NAME)).unwrap())
    };
    settings(me);
    let (faults, text) = runtime();
    assert_eq!(faults, []);
    assert!(text.contains(&format!("User={me}\nStateDirectory=kqueue/shop\n")), "{text}");

    let former = if me == 0 { 2001 } else { me };
    if me == 0 {
        std::os::unix::fs::lchown(here.run.join("shop"), Some(former), None).unwrap();
    }
    settings(former);
    assert_eq!(runtime().0, []);

    settings(former + 1);
    let (faults, text) = runtime();
    let line = &faults[0].line;
    for part in ["etc/shop.toml: user: ", &format!("belongs to user {former}"), "rm -r ", "change user back"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(text.contains("exit 78") && !text.contains("Directory="), "{text}");
    // The other units run as the new user, and have no such directories.
    let schedule = dir.path().join("out/kqueue-schedule@shop.service.d").join(NAME);
    assert!(fs::read_to_string(schedule).unwrap().contains(&format!("User={}\n", former + 1)));
}

#[test]
fn no_directory_is_no_app() {
    let dir = tempfile::Builder::new().prefix("kq").tempdir().unwrap();
    let mut here = Surroundings::read().unwrap();
    here.etc = dir.path().join("none");
    assert_eq!(generate(&here, dir.path(), &owner).unwrap(), []);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
