//! Checks that names and constants match those in the PHP sources.

use std::collections::BTreeMap;

use super::{BootFault, VERSION};

/// The `public const NAME = VALUE;` lines of a PHP file, by name.
fn constants(php: &str) -> BTreeMap<String, String> {
    let lines = php.lines().filter_map(|line| line.trim().strip_prefix("public const "));
    let pairs = lines.filter_map(|line| line.trim_end_matches(';').split_once(" = "));
    pairs.map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned())).collect()
}

#[test]
fn kinds_of_frames_are_the_same() {
    let rust = include_str!("message.rs").split_once("pub mod kind {").unwrap().1.split_once("\n}\n").unwrap().0;
    let rust: BTreeMap<String, String> = rust
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub const ")?.trim_end_matches(';').split_once(": u8 = "))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    assert!(rust.len() > 15, "{rust:?}");
    assert_eq!(constants(include_str!("../../php/worker/Wire.php")), rust);
}

#[test]
fn the_version_is_the_same() {
    assert!(include_str!("../../php/worker/Process.php").contains(&format!("'version' => {VERSION},")));
}

#[test]
fn hints_have_the_same_names() {
    // The quoted names in the first list after `NAMES`.
    let list = |text: &str| {
        let list = text.split_once("NAMES").unwrap().1.split_once("];").unwrap().0;
        let names = list.split(['\'', '"']).skip(1).step_by(2);
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    let rust = list(include_str!("../payload/hints.rs"));
    assert!(rust.contains(&"maxMemory".to_owned()), "{rust:?}");
    assert_eq!(list(include_str!("../../php/worker/Inspect.php")), rust);
}

#[test]
fn faults_have_the_same_names() {
    for (name, value) in constants(include_str!("../../php/worker/Misconfigured.php")) {
        let known: BootFault = serde_json::from_value(value.clone().into()).unwrap();
        assert_ne!(known, BootFault::Unknown, "{name} = {value}");
    }
}
