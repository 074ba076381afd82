//! What each program links: the walls between the crates, as Cargo resolves them.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::process::Command;

/// The names of all crates that `package` links, itself included.
fn linked(package: &str) -> BTreeSet<String> {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--package", package, "--edges", "normal", "--prefix", "none"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let names = String::from_utf8(tree.stdout).unwrap();
    names.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

fn expect_none(package: &str, forbidden: &[&str]) {
    let linked = linked(package);
    assert!(linked.contains("serde") && linked.contains(package), "{package} links {linked:?}");
    let found: Vec<_> = forbidden.iter().filter(|name| linked.contains(**name)).collect();
    assert!(found.is_empty(), "{package} links {found:?}");
}

#[test]
fn the_core_has_no_clock_and_no_io() {
    expect_none("kqueue-core", &["tokio", "nix", "rustix", "libc", "zbus", "tracing", "kqueue-system"]);
}

#[test]
fn the_root_process_speaks_to_no_network_and_no_app() {
    let forbidden = ["redis", "sqlx", "sqlx-core", "aws-sdk-sqs", "hyper", "clap", "saphyr-parser", "kqueue"];
    expect_none("kqueue-coordinator", &forbidden);
}

#[test]
fn the_dashboard_speaks_to_runtimes_and_not_to_queues() {
    let forbidden =
        ["redis", "sqlx", "sqlx-core", "aws-sdk-sqs", "aws-config", "rustls", "kqueue-coordinator", "kqueue"];
    expect_none("kqueue-web", &forbidden);
    let serves = ["axum", "hyper", "redis", "sqlx", "kqueue-web", "kqueue"];
    expect_none("kqueue-pages", &serves);
}

#[test]
fn settings_are_read_without_a_runtime() {
    expect_none("kqueue-config", &["redis", "sqlx", "hyper", "kqueue-coordinator", "kqueue"]);
}
