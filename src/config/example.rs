//! The example config file, made from the table of keys.

use super::key::DefaultValue;
use super::keys::{KEYS, Settings};
use super::tables::TABLES;

/// How values are written.
pub const VALUES: &[&str] = &[
    "Durations: seconds, or \"500ms\", \"30s\", \"5min\", \"1h\", \"2h 30min\".",
    "Memory: MB, or \"64M\", \"1G\". max_waiting_bytes: bytes, or \"64M\".",
    "Paths: relative to the directory of this file, unless absolute.",
];

const HEAD: &str = "\
# kqueue: settings of one app, /etc/kqueue/APP.toml, where APP is 1 to 32 of a-z, 0-9 and _.
#
# Only `path` is required. A key that is commented out shows its default, or an example where noted. Each key
# above the tables, except user, group, operators, setuid and runtime_memory_max, is also an option of
# `kqueue run`, which takes precedence over this file: pool_size is --pool-size.
";

impl Settings {
    /// A config file with every key, its meaning and its default, all commented out.
    pub fn example() -> String {
        let mut text = HEAD.to_owned();
        VALUES.iter().for_each(|line| text.push_str(&format!("# {line}\n")));
        text.push_str("# `kqueue config check APP` reports errors in this file, or the settings in effect.\n");
        for key in KEYS {
            text.push('\n');
            for line in key.doc {
                text.push_str(&format!("#{line}\n"));
            }
            if let DefaultValue::None(_) = key.default {
                text.push_str("# Not set by default; for example:\n");
            }
            text.push_str(&format!("#{} = {}\n", key.name, key.example()));
        }
        let comment = |lines: &[&str]| lines.iter().map(|line| format!("#{line}\n")).collect::<String>();
        for table in TABLES {
            text.push_str(&format!("\n{}#{}\n", comment(table.doc), table.example_head()));
            for key in table.keys {
                text.push_str(&format!("{}#{} = {}\n", comment(key.doc), key.name, key.example));
            }
        }
        text
    }
}
