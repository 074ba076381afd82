//! YAML with line numbers, references and merge keys (`<<`). Pure.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle};

use super::node::{DEEPEST, MOST_NODES, Node, Value};

/// Parses the first document of a file.
///
/// # Errors
/// The error, with its line.
pub(super) fn read(text: &str) -> Result<Node, String> {
    let mut loader = Loader::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| format!("line {}: {}", error.marker().line(), error.info()))?;
        let line = span.start.line();
        if loader.event(event, line).map_err(|why| format!("line {line}: {why}"))? {
            break;
        }
    }
    Ok(loader.done.unwrap_or_else(|| Node::new(1, Value::Null)))
}

/// An unfinished list or map.
struct Open {
    line: usize,
    anchor: usize,
    map: bool,
    nodes: Vec<Node>,
}

#[derive(Default)]
struct Loader {
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    done: Option<Node>,
}

impl Loader {
    /// Handles an event. True if it was the last.
    fn event(&mut self, event: Event<'_>, line: usize) -> Result<bool, String> {
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let value = match (style, text.as_ref()) {
                    (ScalarStyle::Plain, "" | "~" | "null" | "Null" | "NULL") => Value::Null,
                    (ScalarStyle::Plain, "true" | "True" | "TRUE") => Value::Bool(true),
                    (ScalarStyle::Plain, "false" | "False" | "FALSE") => Value::Bool(false),
                    (_, text) => Value::Text(text.to_owned()),
                };
                self.put(Node::new(line, value), anchor)?;
            }
            Event::Alias(anchor) => {
                let node = self.anchors.get(&anchor).cloned().ok_or("an alias refers to itself")?;
                self.put(node, 0)?;
            }
            Event::SequenceStart(anchor, _) => self.begin(line, anchor, false)?,
            Event::MappingStart(anchor, _) => self.begin(line, anchor, true)?,
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(open) = self.open.pop() {
                    let value = if open.map { Value::Map(entries(open.nodes)) } else { Value::List(open.nodes) };
                    self.put(Node::new(open.line, value), open.anchor)?;
                }
            }
            Event::DocumentEnd => return Ok(true),
            _ => {}
        }
        Ok(false)
    }

    fn begin(&mut self, line: usize, anchor: usize, map: bool) -> Result<(), String> {
        if self.open.len() >= DEEPEST {
            return Err(format!("nested more than {DEEPEST} levels deep"));
        }
        self.open.push(Open { line, anchor, map, nodes: Vec::new() });
        Ok(())
    }

    fn put(&mut self, node: Node, anchor: usize) -> Result<(), String> {
        // Contents repeated by references count each time, and so do copies kept for references.
        let size = node.value.size();
        self.nodes += match (anchor, &node.value) {
            (0, Value::List(_) | Value::Map(_)) if !self.open.is_empty() => 1,
            _ => size,
        };
        if self.nodes > MOST_NODES {
            return Err(format!("has more than {MOST_NODES} values"));
        }
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut() {
            Some(open) => open.nodes.push(node),
            None => self.done = Some(node),
        }
        Ok(())
    }
}

/// The entries of a map, from its alternating keys and values. Merged entries give way to explicit ones.
fn entries(nodes: Vec<Node>) -> Vec<(String, Node)> {
    let (mut merged, mut own) = (Vec::new(), Vec::new());
    let mut nodes = nodes.into_iter();
    while let (Some(key), Some(node)) = (nodes.next(), nodes.next()) {
        let key = key.text().unwrap_or_default().to_owned();
        match (key.as_str(), node.value) {
            ("<<", Value::Map(entries)) => merged.extend(entries),
            // The first of several wins.
            ("<<", Value::List(list)) => {
                merged.extend(list.into_iter().rev().flat_map(|node| match node.value {
                    Value::Map(entries) => entries,
                    _ => Vec::new(),
                }));
            }
            (_, value) => own.push((key, Node::new(node.line, value))),
        }
    }
    merged.extend(own);
    merged
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn references_and_merge_keys() {
        let node = read(
            "x: &base\n  a: 1\n  b: [x, 'y']\ny:\n  <<: *base\n  a: 2\nz:\n  <<: [*base, {c: 3, a: 9}]\nn: ~\nt: true\ns: 'true'\n---\nq: 1\n",
        )
        .unwrap();
        assert_eq!(node.get("y").unwrap().get("a").unwrap().text(), Some("2"));
        assert_eq!(node.get("y").unwrap().get("b").unwrap().list()[1].text(), Some("y"));
        assert_eq!(node.get("z").unwrap().get("a").unwrap().text(), Some("1"));
        assert_eq!(node.get("z").unwrap().get("c").unwrap().text(), Some("3"));
        assert_eq!(node.get("t").unwrap().value, Value::Bool(true));
        assert_eq!((node.get("n"), node.get("q")), (None, None));
        assert_eq!(node.get("y").unwrap().get("a").unwrap().line, 6);
    }

    #[test]
    fn what_grows_without_bound_is_refused() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for at in 1..12 {
            let list = vec![format!("*a{}", at - 1); 10].join(", ");
            text += &format!("a{at}: &a{at} [{list}]\n");
        }
        assert!(read(&text).unwrap_err().contains("more than"), "{text}");
        let deep: String = (0..200).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
        assert!(read(&deep).unwrap_err().contains("nested more"));
        assert!(read("a: &a [*a]").is_err());
        assert!(read("a: [").unwrap_err().starts_with("line "));
    }

    proptest! {
        #[test]
        fn never_panics(text in prop_oneof![".*", r#"[a:\n &*<\[\]{}"'|>#!%@`~,?-]*"#]) {
            let _ = read(&text);
        }
    }
}
