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
