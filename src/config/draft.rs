//! A config file to be written: values that differ from the defaults, and the reasons for them as comments. Pure.

use super::error::Error;
use super::key::{DefaultValue, Key};
use super::keys::{KEYS, Merged, key};
use super::raw::Origin;
use super::tables::Table;
use kqueue_system::harmless;

/// A config file in the making.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    head: Vec<String>,
    lines: Vec<Line>,
    /// Lines of tables, by the head of each.
    tables: Vec<(String, Vec<String>)>,
}

#[derive(Clone, Debug)]
struct Line {
    key: &'static Key,
    text: String,
    why: Option<String>,
}

impl Draft {
    /// A draft with these lines as a comment at its top.
    pub fn new(head: impl IntoIterator<Item = String>) -> Self {
        Self { head: head.into_iter().collect(), lines: Vec::new(), tables: Vec::new() }
    }

    /// Sets a key, in the syntax of the command line, in place of an earlier value. A default value is left out.
    ///
    /// # Errors
    /// A key that does not exist, or does not accept the value.
    pub fn set(&mut self, name: &str, text: &str, why: Option<String>) -> Result<(), Error> {
        let key = key(name).ok_or_else(|| Error::NoValue { key: "key", fix: format!("there is no key {name}") })?;
        key.set(&mut Merged::defaults()?, &(key.literal)(text), Origin::Default)?;
        self.lines.retain(|line| line.key.name != key.name);
        if !is_default(key, text) {
            self.lines.push(Line { key, text: text.to_owned(), why });
        }
        Ok(())
    }

    /// Adds a key to a table, below all other keys. `text` is in the syntax of the file.
    ///
    /// # Errors
    /// A table or key that does not exist, or a key that does not accept the value.
    pub fn say(&mut self, table: &str, name: &str, key: &str, text: &str) -> Result<(), Error> {
        let unknown = || Error::NoValue { key: "key", fix: format!("there is no key {key} in a table {table}") };
        let table = Table::named(table).ok_or_else(unknown)?;
        let known = table.keys.iter().find(|known| known.name == key).ok_or_else(unknown)?;
        known.take(table, name, text)?;
        let (head, line) = (table.head(name), format!("{key} = {text}"));
        match self.tables.iter_mut().find(|(known, _)| *known == head) {
            Some((_, lines)) => lines.push(line),
            None => self.tables.push((head, vec![line])),
        }
        Ok(())
    }

    /// Puts lines before the comment at the top.
    pub fn put_first(&mut self, lines: &[String]) {
        self.head.splice(0..0, lines.iter().cloned());
    }

    /// The text that a key is set to, if it is.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.lines.iter().find(|line| line.key.name == name).map(|line| line.text.as_str())
    }

    /// The file, its keys in their usual order.
    pub fn text(&self) -> String {
        let mut text: String = self.head.iter().map(|line| format!("# {}\n", harmless::whole_line(line))).collect();
        text = text.replace("# \n", "#\n");
        let mut lines: Vec<&Line> = self.lines.iter().collect();
        lines.sort_by_key(|line| KEYS.iter().position(|key| key.name == line.key.name));
        for (at, line) in lines.into_iter().enumerate() {
            if at == 0 || line.why.is_some() {
                text.push('\n');
            }
            // A line break in a path must not end the comment.
            if let Some(why) = &line.why {
                text += &format!("# {}\n", harmless::whole_line(why));
            }
            text += &format!("{} = {}\n", line.key.name, (line.key.literal)(&line.text));
        }
        for (head, lines) in &self.tables {
            text += &format!("\n{head}\n{}\n", lines.join("\n"));
        }
        text
    }
}

/// Compares values: `3600` equals `1h`.
fn is_default(key: &Key, text: &str) -> bool {
    let DefaultValue::Is(default) = key.default else { return false };
    let read = |text: &str| {
        let mut merged = Merged::defaults()?;
        key.set(&mut merged, &(key.literal)(text), Origin::Default).map(|()| format!("{merged:?}"))
    };
    read(text) == read(default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs() {
        let mut draft = Draft::new(["A path\nof two lines".to_owned()]);
        draft.put_first(&["Head.".to_owned(), String::new()]);
        draft.set("path", "/srv/s\"hop", None).unwrap();
        draft.set("timeout", "60", None).unwrap();
        draft.set("tries", "1", None).unwrap();
        draft.set("worker_max_time", "3600", None).unwrap();
        draft.set("queues", "high,default", Some("Was --queue.".to_owned())).unwrap();
        draft.set("queues", "high,low", Some("Was --queue.".to_owned())).unwrap();
        draft.set("stop_timeout", "90", None).unwrap();
        draft.set("path", "/srv/s\"hop", None).unwrap();
        assert_eq!(
            draft.text(),
            "# Head.\n#\n# A path of two lines\n\npath = \"/srv/s\\\"hop\"\n\n# Was --queue.\nqueues = \"high,low\"\nstop_timeout = 90\n"
        );
        assert_eq!(draft.get("tries"), None);
        assert_eq!(draft.get("queues"), Some("high,low"));
        // A key set back to its default is left out.
        draft.set("stop_timeout", "60s", None).unwrap();
        assert_eq!(draft.get("stop_timeout"), None);
    }

    #[test]
    fn tables_come_last() {
        let mut draft = Draft::default();
        draft.say("queue", "mail", "alert_wait", "60").unwrap();
        draft.say("queue", "a b", "alert_wait", "\"2min\"").unwrap();
        draft.set("path", "/srv/shop", None).unwrap();
        let expected =
            "\npath = \"/srv/shop\"\n\n[queue.mail]\nalert_wait = 60\n\n[queue.\"a b\"]\nalert_wait = \"2min\"\n";
        assert_eq!(draft.text(), expected);
        assert!(draft.say("queue", "mail", "alert_wait", "0").is_err());
        assert!(draft.say("queue", "mail", "tier", "1").is_err());
    }

    #[test]
    fn what_no_key_takes_is_refused() {
        let mut draft = Draft::default();
        assert!(draft.set("tries", "many", None).unwrap_err().to_string().starts_with("tries: expected"));
        assert!(draft.set("no_such", "1", None).is_err());
    }
}
