//! What `kqueue config check` prints: every setting in effect, and where it was written. Pure.

use serde_json::{Map, Value, json};

use kqueue_config::{KEYS, Loaded, Origin};

/// As lines of a config file, each with its place.
pub fn text(loaded: &Loaded) -> String {
    let file = loaded.file.as_ref().map_or("no file".to_owned(), |file| file.display().to_string());
    let mut text = format!("# {}, {file}: no errors\n", loaded.settings.app);
    for key in KEYS {
        let value = key.show(&loaded.settings);
        if value.is_null() {
            continue;
        }
        let place = loaded.origin(key).unwrap_or(&Origin::Default);
        text.push_str(&format!("{:<48} # {place}\n", format!("{} = {value}", key.name)));
    }
    text
}

/// As one JSON object: `app`, `file` (or null) and `settings`, in which durations are seconds.
pub fn json(loaded: &Loaded) -> String {
    let settings: Map<String, Value> =
        KEYS.iter().map(|key| (key.name.to_owned(), key.show(&loaded.settings))).collect();
    let whole = json!({
        "app": loaded.settings.app,
        "file": loaded.file,
        "settings": settings,
    });
    format!("{whole:#}\n")
}
