//! Edits a config file in place, leaving all other lines unchanged. Pure.

use toml_edit::{DocumentMut, Item, Value};

use kqueue_system::harmless;

/// A key, its value as TOML, and why.
#[derive(Debug)]
pub(super) struct Change<'a> {
    pub key: &'static str,
    pub value: &'a str,
    pub why: &'a str,
}

/// Applies these changes; each new line gets a comment with the reason.
///
/// # Errors
/// When the file is not valid TOML, in one line.
pub(super) fn edited(text: &str, changes: &[Change<'_>]) -> Result<String, String> {
    let first = |error: String| error.lines().next().unwrap_or_default().to_owned();
    let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| first(error.to_string()))?;
    for Change { key, value, why } in changes {
        let mut value: Value = value.parse().map_err(|error: toml_edit::TomlError| first(error.to_string()))?;
        if let Some(old) = document.get_mut(key).and_then(Item::as_value_mut) {
            *value.decor_mut() = old.decor().clone();
            *old = value;
            continue;
        }
        document.insert(key, Item::Value(value));
        if let Some(mut name) = document.key_mut(key) {
            name.leaf_decor_mut().set_prefix(format!("\n# kqueue tune: {}\n", harmless::whole_line(why)));
        }
    }
    Ok(document.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_stays() {
        let text =
            "# Of the shop.\npath = \"/srv/shop\"   # moved\n\n# Enough.\npool_size = 4   # for now\ntries = 3\n";
        let changes = [
            Change { key: "pool_size", value: "6", why: "they wait" },
            Change { key: "default_tier", value: "\"auto\"", why: "3 of 4\nclasses" },
        ];
        assert_eq!(
            edited(text, &changes).unwrap(),
            "# Of the shop.\npath = \"/srv/shop\"   # moved\n\n# Enough.\npool_size = 6   # for now\ntries = 3\n\
             \n# kqueue tune: 3 of 4 classes\ndefault_tier = \"auto\"\n"
        );
        assert!(edited("path = ", &changes).is_err());
    }
}
