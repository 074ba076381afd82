//! The documents name files and functions that are there.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

const DOCUMENTS: &[&str] = &[
    "src/architecture.md",
    "src/core/schedule/states.md",
    "src/core/wire/coordinator.md",
    "src/core/wire/protocol.md",
    "tests/README.md",
    ".github/CONTRIBUTING.md",
    "packaging/RELEASE.md",
];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// What stands between backticks outside of blocks.
fn code(text: &str) -> Vec<String> {
    let prose = text.split("```").step_by(2);
    let spans = prose.flat_map(|part| part.split('`').skip(1).step_by(2));
    spans.map(|span| span.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// Whether a file, or one below a folder, has a function of this name.
fn has_function(place: &Path, name: &str) -> bool {
    if place.is_dir() {
        return fs::read_dir(place).unwrap().any(|entry| has_function(&entry.unwrap().path(), name));
    }
    let text = fs::read_to_string(place).unwrap_or_default();
    ["(", "<"]
        .iter()
        .any(|open| text.contains(&format!("fn {name}{open}")) || text.contains(&format!("function {name}{open}")))
}

#[test]
fn functions_that_documents_name_are_there() {
    let mut named = 0;
    for document in DOCUMENTS {
        let text = fs::read_to_string(repository().join(document)).expect(document);
        for (place, name) in code(&text).iter().filter_map(|code| code.split_once(": ")) {
            let is_name = name.chars().all(|byte| byte.is_ascii_alphanumeric() || byte == '_');
            if is_name && place.contains('/') {
                named += 1;
                assert!(has_function(&repository().join("src").join(place), name), "{document}: {place} has no {name}");
            }
        }
    }
    assert!(named > 50, "{named}");
}

#[test]
fn files_that_documents_name_are_there() {
    for document in DOCUMENTS {
        let text = fs::read_to_string(repository().join(document)).expect(document);
        let beside = Path::new(document).parent().unwrap().to_owned();
        for path in code(&text) {
            let is_file = [".rs", ".md", ".php", ".toml", ".spec"].iter().any(|end| path.ends_with(end));
            if is_file && path.contains('/') && !path.contains([' ', '*', '=']) && !path.starts_with('/') {
                let places = ["", "src", "src/php/package"].map(|place| repository().join(place));
                let places = places.into_iter().chain([repository().join(&beside)]);
                assert!(places.clone().any(|place| place.join(&path).exists()), "{document}: there is no {path}");
            }
        }
    }
}

/// Every Rust file below a folder, with its text.
fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.fold(Vec::new(), |mut all, path| {
        if path.is_dir() {
            all.extend(sources(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            all.push((path.clone(), fs::read_to_string(&path).unwrap()));
        }
        all
    })
}

/// The owners of a runtime know neither each other nor the loop: nothing inside their folders names what is outside.
#[test]
fn the_folders_of_the_runtime_import_nothing_from_above_or_beside_them() {
    let runtime = repository().join("src/kqueue/runtime");
    let mut owners = Vec::new();
    let folders = fs::read_dir(&runtime).unwrap().map(|entry| entry.unwrap().path());
    // The simulation owns nothing: it drives all of them.
    for folder in folders.filter(|path| path.is_dir() && !path.ends_with("simulation")) {
        let owner = folder.file_name().unwrap().to_string_lossy().into_owned();
        for (path, text) in sources(&folder) {
            let deep = path.strip_prefix(&folder).unwrap().components().count();
            // As many steps as lead out of the folder: one from its `mod.rs`, one more from each file or folder in it.
            let out = if path.ends_with("mod.rs") { deep } else { deep + 1 };
            for line in text.lines().map(str::trim_start).filter(|line| !line.starts_with("//")) {
                let inside = format!("crate::runtime::{owner}::");
                let upward = format!("{}::", vec!["super"; out].join("::"));
                let is_own = line.contains(&inside) || line.contains("crate::runtime::testing::");
                assert!(!line.contains("crate::runtime") || is_own, "{}: {line}", path.display());
                assert!(!line.contains(&upward), "{}: {line}", path.display());
                assert!(!line.contains("impl Runtime"), "{}: {line}", path.display());
            }
        }
        owners.push(owner);
    }
    owners.sort();
    assert_eq!(owners, ["held", "processes", "queue", "service"]);
}
