//! INI files as supervisord reads them: sections and keys with their lines. Pure.

use super::plan::At;

/// A section with its keys.
#[derive(Clone, Debug, Default)]
pub(super) struct Section {
    pub name: String,
    pub line: usize,
    pub keys: Vec<Key>,
}

/// A key; its name is converted to lower case.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub name: String,
    pub value: String,
    pub line: usize,
}

impl Section {
    /// The last key of that name.
    pub fn get(&self, name: &str) -> Option<&Key> {
        self.keys.iter().rev().find(|key| key.name == name)
    }
}

/// Parses a file. Lines that are neither section nor key are noted.
pub(super) fn read(text: &str, file: &str, notes: &mut Vec<String>) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    // Index of the current section, and indentation of the current key.
    let mut here: Option<usize> = None;
    let mut indent: Option<usize> = None;
    for (at, raw) in text.lines().enumerate() {
        let line = at + 1;
        let cut = without_comment(raw);
        let content = cut.trim();
        if content.is_empty() {
            // An empty line ends a continued value; a comment does not.
            if raw.trim().is_empty() {
                indent = None;
            }
            continue;
        }
        let depth = cut.len() - cut.trim_start().len();
        if let (Some(section), Some(indent)) = (here, indent)
            && depth > indent
        {
            if let Some(key) = sections.get_mut(section).and_then(|section| section.keys.last_mut()) {
                key.value.push('\n');
                key.value.push_str(content);
            }
            continue;
        }
        if let Some((name, _)) = content.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            let name = name.trim();
            let there = sections.iter().position(|section| section.name == name);
            here = Some(there.unwrap_or(sections.len()));
            if there.is_none() {
                sections.push(Section { name: name.to_owned(), line, keys: Vec::new() });
            }
            indent = None;
            continue;
        }
        let at = content.find(['=', ':']);
        let Some((section, at)) = here.and_then(|here| sections.get_mut(here)).zip(at) else {
            notes.push(format!("{}: neither a section nor a key; ignored", At::new(file, line)));
            indent = None;
            continue;
        };
        let (name, value) = (content[..at].trim().to_ascii_lowercase(), content[at + 1..].trim().to_owned());
        section.keys.push(Key { name, value, line });
        indent = Some(depth);
    }
    sections
}

/// A line without its comment, which begins with a semicolon or hash at the start or after white space.
fn without_comment(line: &str) -> &str {
    let mut blank = true;
    for (at, c) in line.char_indices() {
        if blank && matches!(c, ';' | '#') {
            return &line[..at];
        }
        blank = c.is_whitespace();
    }
    line
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn as_supervisord_reads_it() {
        let text = "junk\n[a]\nOne = 1 ; x\ntwo:2;3\n; c\n# c\n[b] ; x\n  k=v\n    more # c\n  ; c\n    and\n\n    l=1\n[a]\none=9\n";
        let mut notes = Vec::new();
        let sections = read(text, "f", &mut notes);
        let flat: Vec<String> = sections
            .iter()
            .flat_map(|s| s.keys.iter().map(|k| format!("{}.{}={:?}@{}", s.name, k.name, k.value, k.line)))
            .collect();
        assert_eq!(
            flat,
            ["a.one=\"1\"@3", "a.two=\"2;3\"@4", "a.one=\"9\"@15", "b.k=\"v\\nmore\\nand\"@8", "b.l=\"1\"@13"]
        );
        assert_eq!(sections[0].get("one").unwrap().value, "9");
        assert_eq!(notes, ["f:1: neither a section nor a key; ignored"]);
    }

    proptest! {
        #[test]
        fn never_panics(text in prop_oneof![".*", "[\\[\\]a=:;# \n%]*"]) {
            read(&text, "f", &mut Vec::new());
        }
    }
}
