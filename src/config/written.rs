//! A config file as written: known keys with raw values and their lines, in the file's order.
//!
//! Reads only the file that it is given.

use std::fs::{Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::OFlag;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{At, Error};
use super::key::Key;
use super::keys::{KEYS, Merged, key};
use super::raw::{Origin, Raw};
use super::tables::{Said, Table};

/// Longest config file in bytes.
const LONGEST: u64 = 1 << 20;

/// A config file as written.
#[derive(Debug)]
pub struct Written {
    entries: Vec<Entry>,
}

#[derive(Debug)]
enum Entry {
    Key(&'static Key, Raw, Origin),
    Table(Said),
}

/// Why a config file was not read.
#[derive(Debug)]
pub enum Unread {
    /// There is no such file: not an error unless it was asked for.
    Absent,
    /// The file exists but cannot be used.
    Bad(Error),
}

/// Reads and parses `file`.
///
/// # Errors
/// [`Unread::Absent`] where there is none; else an error of the file, of its syntax or of a key's name.
pub fn read(file: &Path) -> Result<Written, Unread> {
    read_judged(file, &|_, _| Ok(()))
}

/// As [`read`], unless `judge` refuses the file. `judge` gets the metadata of the open file: it does not matter whether
/// the path is replaced meanwhile.
///
/// # Errors
/// As [`read`], and the error of `judge`.
pub fn read_judged(file: &Path, judge: &dyn Fn(&Path, &Metadata) -> Result<(), Error>) -> Result<Written, Unread> {
    let unreadable = |error: io::Error| {
        let fix = match error.kind() {
            ErrorKind::PermissionDenied => "make it readable for the user that runs kqueue",
            ErrorKind::IsADirectory => "give the file, not the directory",
            ErrorKind::InvalidInput => "give a regular file that holds settings",
            _ => "check the file and its disk",
        };
        Unread::Bad(Error::Unreadable { file: file.to_owned(), reason: error.to_string(), fix })
    };
    // Opening a FIFO would block until it has a writer.
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let opened = match OpenOptions::new().read(true).custom_flags(flags.bits()).open(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(Unread::Absent),
        opened => opened.map_err(unreadable)?,
    };
    let metadata = opened.metadata().map_err(unreadable)?;
    if metadata.is_dir() {
        return Err(unreadable(ErrorKind::IsADirectory.into()));
    }
    if !metadata.is_file() {
        return Err(unreadable(io::Error::new(ErrorKind::InvalidInput, "not a regular file")));
    }
    judge(file, &metadata).map_err(Unread::Bad)?;
    let mut bytes = Vec::new();
    opened.take(LONGEST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > LONGEST {
        let reason = format!("longer than {} KB", LONGEST >> 10);
        return Err(unreadable(io::Error::new(ErrorKind::InvalidInput, reason)));
    }
    parse(file, bytes).map_err(Unread::Bad)
}

/// Parses the bytes of `file`, which is only named here.
///
/// # Errors
/// Not UTF-8, not TOML, or a key that does not exist.
pub fn parse(file: &Path, bytes: Vec<u8>) -> Result<Written, Error> {
    let text = String::from_utf8(bytes).map_err(|error| Error::NotUtf8 {
        file: file.to_owned(),
        line: line_at(error.as_bytes(), error.utf8_error().valid_up_to()),
    })?;
    let line_at = |offset| line_at(text.as_bytes(), offset);
    let table = DeTable::parse(&text).map_err(|error| {
        let span = error.span().unwrap_or_default();
        let line = line_at(span.start);
        let what = error.message().lines().collect::<Vec<_>>().join(", ");
        match first_of(&text, span).filter(|_| what.contains("duplicate key")) {
            Some((key, first)) => Error::Twice { file: file.to_owned(), line, key, first },
            None => Error::Syntax { file: file.to_owned(), line, what },
        }
    })?;
    let table = table.into_inner();
    let mut found: Vec<(&Spanned<_>, &Spanned<DeValue<'_>>)> = table.iter().collect();
    // The table is sorted by name. Of several errors the first in the file is reported.
    found.sort_by_key(|(name, _)| name.span().start);
    let mut entries = Vec::with_capacity(found.len());
    for (name, value) in found {
        let line = line_at(name.span().start);
        if let (Some(table), DeValue::Table(named)) = (Table::named(name.get_ref()), value.get_ref()) {
            entries.extend(said(table, named, file, &line_at)?.into_iter().map(Entry::Table));
            continue;
        }
        let Some(key) = key(name.get_ref()) else {
            let (key, fix) = (name.get_ref().to_string(), meant(name.get_ref(), value.get_ref()));
            return Err(Error::UnknownKey { file: file.to_owned(), line, key, fix });
        };
        entries.push(Entry::Key(key, raw(value.get_ref()), Origin::File { file: file.to_owned(), line }));
    }
    Ok(Written { entries })
}

impl Written {
    /// Sets all values in `merged`, in place of those that were there.
    ///
    /// # Errors
    /// The first value in the file that its key does not accept; then the first table that contradicts itself.
    pub fn merge_into(self, merged: &mut Merged) -> Result<(), Error> {
        for entry in self.entries {
            match entry {
                Entry::Key(key, raw, origin) => key.set(merged, &raw, origin)?,
                Entry::Table(said) => {
                    said.put(&mut merged.tables.0)?;
                    merged.tables.1.push(said);
                }
            }
        }
        merged.tables.1.iter().try_for_each(|said| said.check(&merged.tables.0))
    }
}

/// The entries of all tables of one kind, in the file's order.
fn said(
    table: &'static Table,
    named: &DeTable<'_>,
    file: &Path,
    line_at: &dyn Fn(usize) -> usize,
) -> Result<Vec<Said>, Error> {
    let origin = |line| Origin::File { file: file.to_owned(), line };
    let wrong = |line, value: &DeValue<'_>| {
        let what = format!("expected a table for each {}, got {}", table.name, raw(value));
        Error::Value { at: At { key: table.name, origin: origin(line) }, what, fix: table.example_head() }
    };
    let mut all = Vec::new();
    if table.is_single() {
        all = self::keys(table, "", named, file, line_at)?;
    }
    for (name, value) in named.iter().filter(|_| !table.is_single()) {
        let line = line_at(name.span().start);
        let DeValue::Table(keys) = value.get_ref() else { return Err(wrong(line, value.get_ref())) };
        let plain = name.get_ref().trim_start_matches('\\').trim();
        if plain.is_empty() || plain.chars().any(char::is_control) {
            return Err(wrong(line, &DeValue::String(name.get_ref().clone())));
        }
        all.extend(self::keys(table, plain, keys, file, line_at)?);
    }
    // The parser sorts by name.
    all.sort_by_key(|said| match &said.origin {
        Origin::File { line, .. } => *line,
        _ => 0,
    });
    Ok(all)
}

/// The entries of one table.
fn keys(
    table: &'static Table,
    name: &str,
    keys: &DeTable<'_>,
    file: &Path,
    line_at: &dyn Fn(usize) -> usize,
) -> Result<Vec<Said>, Error> {
    let mut all = Vec::new();
    for (key, value) in keys.iter() {
        let line = line_at(key.span().start);
        let Some(key) = table.keys.iter().find(|known| known.name == *key.get_ref()) else {
            let fix = match value.get_ref() {
                DeValue::Table(_) if !table.is_single() => {
                    format!("put a name with dots or backslashes in quotes: {}", table.example_head())
                }
                _ => {
                    let known: Vec<&str> = table.keys.iter().map(|key| key.name).collect();
                    let whose = if table.is_single() { table.head("") } else { format!("a {} table", table.name) };
                    format!("{whose} takes {}", known.join(", "))
                }
            };
            return Err(Error::UnknownKey { file: file.to_owned(), line, key: key.get_ref().to_string(), fix });
        };
        let origin = Origin::File { file: file.to_owned(), line };
        all.push(Said { table, name: name.to_owned(), key, raw: raw(value.get_ref()), origin });
    }
    Ok(all)
}

/// The key at `second`, and the number of the first line with the same key.
fn first_of(text: &str, second: Range<usize>) -> Option<(String, usize)> {
    let unquoted = |key: &str| key.trim().trim_matches(['"', '\'']).to_owned();
    let key = unquoted(text.get(second.clone())?);
    let above = text.get(..second.start)?.lines();
    let first = above.enumerate().find(|(_, line)| line.split_once('=').is_some_and(|(name, _)| unquoted(name) == key));
    first.map(|(at, _)| (key, at + 1))
}

fn line_at(text: &[u8], offset: usize) -> usize {
    1 + text.iter().take(offset).filter(|byte| **byte == b'\n').count()
}

fn raw(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Integer(int) => {
            i64::from_str_radix(int.as_str(), int.radix()).map_or(Raw::Other("a number that is too large"), Raw::Int)
        }
        DeValue::Float(float) => float.as_str().parse().map_or(Raw::Other("a number that is too large"), Raw::Float),
        DeValue::Boolean(value) => Raw::Bool(*value),
        DeValue::Datetime(_) => Raw::Other("a date"),
        DeValue::Array(list) => Raw::List(list.iter().map(|value| raw(value.get_ref())).collect()),
        DeValue::Table(_) => Raw::Other("a table"),
    }
}

/// The fix for an unknown key.
fn meant(written: &str, value: &DeValue<'_>) -> String {
    if matches!(value, DeValue::Table(_)) {
        return "the only tables are [class.NAME], [queue.NAME] and [alerts]; write other keys above all tables".into();
    }
    if let Some(table) = Table::named(written).filter(|table| table.name == "class") {
        return format!("settings of a class go into a table of their own: {}", table.example_head());
    }
    let name = written.trim().to_ascii_lowercase().replace('-', "_");
    let by_alias = KEYS.iter().find(|key| key.alias() == Some(name.as_str()));
    let nearest = KEYS.iter().map(|key| (strsim::osa_distance(&name, key.name), key)).min_by_key(|near| near.0);
    // One wrong letter, and one more for each four of the key, is a typo; more is another word.
    let close = nearest.filter(|(distance, key)| *distance <= 1 + key.name.len() / 4).map(|near| near.1);
    match by_alias.or(close) {
        Some(key) => format!("did you mean {:?}?", key.name),
        None => "`kqueue config example` lists the keys".into(),
    }
}
