//! Payloads as Laravel 8 to 13 dispatched them, and what may become of them on the way.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kqueue_core::payload::{Envelope, Hints};
use proptest::prelude::*;

/// Every sample: its Laravel version, its kind and its bytes.
fn samples() -> Vec<(String, String, Vec<u8>)> {
    let mut files: Vec<PathBuf> = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/payloads"))
        .unwrap()
        .flat_map(|version| fs::read_dir(version.unwrap().path()).unwrap())
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    let name = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    files
        .iter()
        .map(|file| {
            let version = file.parent().unwrap().file_name().unwrap().to_str().unwrap();
            (version.to_owned(), name(file), fs::read(file).unwrap())
        })
        .collect()
}

#[test]
fn every_sample_is_read() {
    let samples = samples();
    assert_eq!(samples.len(), 57);
    for (version, kind, bytes) in samples {
        let at = format!("{version}/{kind}");
        let envelope = Envelope::parse(&bytes).expect(&at);
        assert_eq!(envelope.uuid.as_deref().map(str::len), Some(36), "{at}");
        assert_eq!(envelope.attempts, Some(0), "{at}");
        let class = match kind.as_str() {
            "closure" => "Closure (variants.php:8)",
            "string" => "App\\Handlers\\Old@fire",
            "lq" => "App\\Listeners\\Ls",
            "enc" => "App\\Jobs\\E",
            "unique" => "App\\Jobs\\U",
            _ => "App\\Jobs\\T",
        };
        assert_eq!(envelope.classes().0, class, "{at}");
        let timeout = match kind.as_str() {
            "closure" | "string" => None,
            "lq" => Some(44),
            _ => Some(33),
        };
        assert_eq!(envelope.timeout, timeout, "{at}");
        let tries = match kind.as_str() {
            "default" => Some(0),
            "lq" => Some(4),
            _ => None,
        };
        assert_eq!(envelope.max_tries, tries, "{at}");
        assert_eq!(envelope.retry_until.is_some(), kind == "enc", "{at}");
        let dated = matches!(version.as_str(), "12.x" | "13.x");
        assert_eq!(envelope.created_at.is_some(), dated, "{at}");
        let delay = (dated && kind == "delayed").then_some(60);
        assert_eq!(envelope.delay, delay, "{at}");
        // Laravel 9.4 and later leaves class defaults out of the command.
        let plain = !matches!(kind.as_str(), "closure" | "string" | "lq" | "enc");
        let hints = match (version.as_str(), plain) {
            ("8.x", true) => Hints { isolated: Some(true), max_memory_mb: Some(256), ..Hints::default() },
            _ => Hints::default(),
        };
        assert_eq!(envelope.hints(true), hints, "{at}");
    }
}

#[test]
fn a_command_with_every_kind_of_value_is_read() {
    let bytes = fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/php/properties.json")).unwrap();
    let expected = Hints {
        isolated: Some(true),
        max_memory_mb: Some(256),
        estimated_duration: Some(Duration::from_millis(12_500)),
        priority: Some(-5),
        ..Hints::default()
    };
    assert_eq!(Envelope::parse(&bytes).unwrap().hints(true), expected);
}

#[test]
fn a_pass_through_redis_changes_nothing() {
    for (version, kind, bytes) in samples() {
        // As Lua's cjson does: other key order, `{}` for `[]`, an attempt counted.
        let mut value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let object = value.as_object_mut().unwrap();
        object.insert("attempts".into(), 1.into());
        let mut text = String::from("{");
        for (key, value) in object.iter().rev() {
            text.push_str(&format!("\"{key}\":{value},"));
        }
        text.pop();
        text.push('}');
        let text = text.replace("[]", "{}").replace(":33,", ":33.0,");
        let mut expected = Envelope::parse(&bytes).unwrap();
        expected.attempts = Some(1);
        assert_eq!(Envelope::parse(text.as_bytes()), Ok(expected), "{version}/{kind}");
    }
}

#[test]
fn a_large_payload_is_read_without_recursion() {
    let command =
        format!("O:1:\"T\":2:{{s:1:\"x\";s:{}:\"{}\";s:8:\"isolated\";b:1;}}", 20 << 20, "\"".repeat(20 << 20));
    let text = serde_json::json!({"job": "Illuminate\\Queue\\CallQueuedHandler@call", "data": {"commandName": "T", "command": command}}).to_string();
    let envelope = Envelope::parse(text.as_bytes()).unwrap();
    assert_eq!(envelope.classes().0, "T");
    assert_eq!(envelope.hints(true).isolated, Some(true));
}

/// Prints what reading costs: `cargo test --release --test payload -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement, not a check"]
fn cost() {
    let time = |name: &str, rounds: u32, bytes: &[u8]| {
        let start = std::time::Instant::now();
        for _ in 0..rounds {
            std::hint::black_box(Envelope::parse(std::hint::black_box(bytes)).unwrap());
        }
        println!("{name}, {} bytes: {:?}", bytes.len(), start.elapsed() / rounds);
    };
    for (version, kind, bytes) in samples() {
        if matches!(kind.as_str(), "default" | "closure") && matches!(version.as_str(), "8.x" | "13.x") {
            time(&format!("{version}/{kind}"), 100_000, &bytes);
        }
    }
    for (name, property) in [("large, no hint", "other"), ("large, hinted", "isolated")] {
        let body = "some text \"quoted\" ".repeat(1 << 20);
        let command =
            format!("O:1:\"T\":2:{{s:1:\"x\";s:{}:\"{body}\";s:{}:\"{property}\";b:1;}}", body.len(), property.len());
        let text = serde_json::json!({"job": "J@call", "data": {"command": command}}).to_string();
        time(name, 5, text.as_bytes());
    }
}

proptest! {
    #[test]
    fn a_damaged_sample_never_panics(
        which in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..8),
    ) {
        let samples = samples();
        let (_, _, bytes) = which.get(&samples);
        let mut bytes = bytes.clone();
        for (at, byte, edit) in edits {
            let at = at.index(bytes.len());
            match edit {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => { bytes.remove(at); }
            }
        }
        let _ = Envelope::parse(&bytes);
        // The command alone, so that damage to it is not stopped by the JSON around it.
        let text = String::from_utf8_lossy(&bytes);
        if let Some(start) = text.find("O:") {
            Hints::from_serialized(text[start..].replace("\\\"", "\"").replace("\\\\", "\\").as_bytes());
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Envelope::parse(&bytes);
        Hints::from_serialized(&bytes);
    }

    #[test]
    fn keys_are_found_in_any_surroundings(
        timeout in any::<u32>(),
        noise in "[a-z]{20}",
        value in "\\PC{0,40}",
    ) {
        let text = serde_json::json!({ noise: value, "job": "J", "timeout": timeout }).to_string();
        let envelope = Envelope::parse(text.as_bytes()).unwrap();
        prop_assert_eq!(envelope.timeout, Some(timeout));
    }
}
