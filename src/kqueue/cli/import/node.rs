//! Parsed YAML, JSON or JavaScript literals, with line numbers.

/// A value and its line.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub line: usize,
    pub value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    /// A text or a number, as written.
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
    /// An expression known only by running it, as source text.
    Unknown(String),
}

/// Maximum nesting.
pub(super) const DEEPEST: usize = 64;
/// Maximum number of values; those repeated by reference count each time.
pub(super) const MOST_NODES: usize = 50_000;

/// Maximum bytes of a concatenated text.
pub(super) const LONGEST: usize = 1 << 16;

impl Value {
    /// Its number of values; long texts count as several.
    pub fn size(&self) -> usize {
        match self {
            Self::Null | Self::Bool(_) => 1,
            Self::Text(text) | Self::Unknown(text) => 1 + text.len() / 64,
            Self::List(list) => list.iter().fold(1, |sum, node| sum + node.value.size()),
            Self::Map(entries) => entries.iter().fold(1, |sum, (_, node)| sum + 1 + node.value.size()),
        }
    }
}

impl Node {
    pub fn new(line: usize, value: Value) -> Self {
        Self { line, value }
    }

    /// The value of a key in a map; null counts as missing.
    pub fn get(&self, key: &str) -> Option<&Self> {
        let Value::Map(entries) = &self.value else { return None };
        let found = entries.iter().rev().find(|(name, _)| name == key).map(|(_, node)| node);
        found.filter(|node| node.value != Value::Null)
    }

    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            Value::Bool(true) => Some("true"),
            Value::Bool(false) => Some("false"),
            _ => None,
        }
    }

    pub fn list(&self) -> &[Self] {
        match &self.value {
            Value::List(list) => list,
            _ => &[],
        }
    }

    pub fn entries(&self) -> &[(String, Self)] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The first unknown expression in it.
    pub fn unknown(&self) -> Option<&str> {
        match &self.value {
            Value::Unknown(text) => Some(text),
            Value::List(list) => list.iter().find_map(Self::unknown),
            Value::Map(entries) => entries.iter().find_map(|(_, node)| node.unknown()),
            _ => None,
        }
    }
}
