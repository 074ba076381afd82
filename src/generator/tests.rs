//! Trees of settings against trees of drop-ins, as they are kept in `golden`.
//!
//! `KQUEUE_GOLDEN=write cargo test generator` writes them anew; look at the difference before you keep it.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::*;

/// Files as `== NAME` and their text, links as `== NAME -> TARGET`, in order.
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
        Some("/mnt/not-there") => Err("is not there".into()),
        _ => Ok(1000),
    }
}

#[test]
fn fuzz_settings_of_root() {
    let seeds = crate::fuzz::files("src/generator/golden");
    let seeds: Vec<&[u8]> = seeds.iter().map(Vec::as_slice).collect();
    let dir = tempfile::Builder::new().prefix("kq").tempdir().unwrap();
    let mut here = Surroundings::read().unwrap();
    here.etc = dir.path().to_owned();
    crate::fuzz::fuzz("settings", &seeds, |input| {
        fs::write(here.etc.join("shop.toml"), input).unwrap();
        let settled = config::root("shop", &here).and_then(|settings| Ok((user(&settings, &owner)?, settings)));
        let texts = match settled {
            Ok((user, settings)) => {
                let app = App { user, settings };
                vec![drop_ins::runtime(&app), drop_ins::socket(&app), drop_ins::worker(&app), drop_ins::schedule(&app)]
            }
            Err(error) => vec![drop_ins::refusal(&here.etc, "shop", &error.to_string())],
        };
        // Each line is one that the generator writes: nothing of the file begins one of its own.
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
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/generator/golden").join(case);
    let dir = tempfile::Builder::new().prefix("kq").tempdir().unwrap();
    let (etc, out) = (dir.path().join("etc"), dir.path().join("out"));
    fs::create_dir(&etc).unwrap();
    fs::create_dir(&out).unwrap();
    for entry in fs::read_dir(kept.join("etc")).unwrap() {
        let entry = entry.unwrap();
        // Not copied: what others may write to depends on the checkout.
        fs::write(etc.join(entry.file_name()), fs::read(entry.path()).unwrap()).unwrap();
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(etc.join(entry.file_name()), fs::Permissions::from_mode(0o644)).unwrap();
    }
    let mut here = Surroundings::read().unwrap();
    here.etc = etc.clone();
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
fn no_directory_is_no_app() {
    let dir = tempfile::Builder::new().prefix("kq").tempdir().unwrap();
    let mut here = Surroundings::read().unwrap();
    here.etc = dir.path().join("none");
    assert_eq!(generate(&here, dir.path(), &owner).unwrap(), []);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
