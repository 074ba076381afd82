//! The output of `kqueue config check`: every setting in effect, and its origin. Pure.

use serde_json::{Map, Value, json};

use kqueue_config::{Bounds, KEYS, Loaded, Origin, TABLES, Table};

/// As lines of a config file, each with its origin.
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
    for (table, name, bounds) in tables(loaded) {
        text.push_str(&format!("\n{}\n", table.head(name)));
        for key in table.keys {
            let Some(value) = key.show(bounds) else { continue };
            let place = loaded.origin_in(table, name, key).unwrap_or(&Origin::Default);
            text.push_str(&format!("{:<48} # {place}\n", format!("{} = {value}", key.name)));
        }
    }
    text
}

/// The settings in tables, such as those of classes and queues.
fn tables(loaded: &Loaded) -> impl Iterator<Item = (&'static Table, &String, &Bounds)> {
    let of = |table: &'static Table| {
        table.read(&loaded.settings.tables).iter().map(move |(name, bounds)| (table, name, bounds))
    };
    TABLES.iter().flat_map(of)
}

/// As one JSON object: `app`, `file` (or null) and `settings`, in which durations are seconds. In it, `class` and
/// `queue` are objects by name, `alerts` is a single object.
pub fn json(loaded: &Loaded) -> String {
    let mut settings: Map<String, Value> =
        KEYS.iter().map(|key| (key.name.to_owned(), key.show(&loaded.settings))).collect();
    for (table, name, bounds) in tables(loaded) {
        let said: Map<String, Value> =
            table.keys.iter().filter_map(|key| Some((key.name.to_owned(), key.show(bounds)?))).collect();
        if table.is_single() {
            settings.insert(table.name.to_owned(), said.into());
        } else if let Value::Object(all) = settings.entry(table.name).or_insert_with(|| json!({})) {
            all.insert(name.clone(), said.into());
        }
    }
    let whole = json!({
        "app": loaded.settings.app,
        "file": loaded.file,
        "settings": settings,
    });
    format!("{whole:#}\n")
}
