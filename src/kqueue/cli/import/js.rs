//! A parser of JavaScript literals that runs nothing: JSON, and what is usual in `ecosystem.config.js`. Supported are
//! strings, numbers, lists, maps, constants of the file, `__dirname`, `process.env.X || 'default'` and concatenated
//! strings; any other expression is kept as its source text. Pure.

use super::node::{DEEPEST, LONGEST, MOST_NODES, Node, Value};

/// Parses a file in `directory`: its exported value, or its only value.
///
/// # Errors
/// The error, with its line.
pub(super) fn read(text: &str, directory: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Node, String> {
    let mut reader = Reader {
        chars: text.chars().collect(),
        at: 0,
        line: 1,
        nodes: 0,
        names: vec![("__dirname".into(), Value::Text(directory.into()))],
        lookup,
    };
    reader.file()
}

struct Reader<'a> {
    chars: Vec<char>,
    at: usize,
    line: usize,
    nodes: usize,
    /// Constants defined so far.
    names: Vec<(String, Value)>,
    lookup: &'a dyn Fn(&str) -> Option<String>,
}

impl Reader<'_> {
    fn file(&mut self) -> Result<Node, String> {
        self.blank();
        if matches!(self.peek(), Some('{' | '[')) {
            return self.expression(0);
        }
        let mut exported = None;
        while let Some(c) = self.peek() {
            if !is_name(c) {
                self.skip_one();
                self.blank();
                continue;
            }
            let name = self.dotted();
            self.blank();
            match name.as_str() {
                "const" | "let" | "var" => {
                    let name = self.dotted();
                    self.blank();
                    if self.peek() == Some('=') && self.ahead(1) != Some('=') {
                        self.bump();
                        let node = self.expression(0)?;
                        self.names.push((name, node.value));
                    }
                }
                "module.exports" | "exports.apps" | "module.exports.apps" if self.peek() == Some('=') => {
                    self.bump();
                    let line = self.line;
                    let node = self.expression(0)?;
                    exported = Some(match name.as_str() {
                        "module.exports" => node,
                        _ => Node::new(line, Value::Map(vec![("apps".into(), node)])),
                    });
                }
                "export" if self.dotted() == "default" => exported = Some(self.expression(0)?),
                _ => {}
            }
            self.blank();
        }
        let node = exported
            .ok_or("exports nothing that can be read without running it; write module.exports = { apps: [ … ] }")?;
        match node.value {
            Value::Unknown(text) => Err(format!("line {}: {text} is not known without running it", node.line)),
            value => Ok(Node::new(node.line, value)),
        }
    }

    fn peek(&self) -> Option<char> {
        self.ahead(0)
    }

    fn ahead(&self, by: usize) -> Option<char> {
        self.chars.get(self.at + by).copied()
    }

    fn bump(&mut self) {
        if self.peek() == Some('\n') {
            self.line += 1;
        }
        self.at += 1;
    }

    /// Skips white space and comments.
    fn blank(&mut self) {
        loop {
            match (self.peek(), self.ahead(1)) {
                (Some(c), _) if c.is_whitespace() || c == '\u{feff}' => self.bump(),
                (Some('/'), Some('/')) => {
                    while self.peek().is_some_and(|c| c != '\n') {
                        self.bump();
                    }
                }
                (Some('/'), Some('*')) => {
                    while self.peek().is_some() && (self.peek(), self.ahead(1)) != (Some('*'), Some('/')) {
                        self.bump();
                    }
                    self.bump();
                    self.bump();
                }
                // `#!/usr/bin/env node`
                (Some('#'), Some('!')) if self.at == 0 => {
                    while self.peek().is_some_and(|c| c != '\n') {
                        self.bump();
                    }
                }
                _ => return,
            }
        }
    }

    /// Skips a whole string, or one character.
    fn skip_one(&mut self) {
        match self.peek() {
            Some(quote @ ('"' | '\'' | '`')) => {
                let _ = self.string(quote);
            }
            _ => self.bump(),
        }
    }

    /// A name with its dotted members: `process.env.X`.
    fn dotted(&mut self) -> String {
        self.blank();
        let mut name = String::new();
        while let Some(c) = self.peek().filter(|c| is_name(*c) || c.is_ascii_digit() || *c == '.') {
            name.push(c);
            self.bump();
        }
        name
    }

    fn count(&mut self, depth: usize) -> Result<(), String> {
        self.nodes += 1;
        if depth > DEEPEST {
            return Err(format!("line {}: nested more than {DEEPEST} levels deep", self.line));
        }
        if self.nodes > MOST_NODES {
            return Err(format!("line {}: has more than {MOST_NODES} values", self.line));
        }
        Ok(())
    }

    /// A value with operators: `a + b`, `a || b`, `a ?? b`.
    fn expression(&mut self, depth: usize) -> Result<Node, String> {
        self.blank();
        let (from, line) = (self.at, self.line);
        let mut value = self.primary(depth)?;
        loop {
            self.blank();
            match (self.peek(), self.ahead(1)) {
                (Some('+'), next) if next != Some('+') => {
                    self.bump();
                    let right = self.expression_part(depth)?;
                    value = match (value, right) {
                        (Value::Text(left), Value::Text(right)) if left.len() + right.len() <= LONGEST => {
                            Value::Text(left + &right)
                        }
                        _ => self.unknown_from(from),
                    };
                }
                (Some(operator @ ('|' | '?')), Some(same)) if operator == same => {
                    self.bump();
                    self.bump();
                    let right = self.expression_part(depth)?;
                    value = match value {
                        Value::Null | Value::Bool(false) => right,
                        Value::Text(text) if text.is_empty() && operator == '|' => right,
                        Value::Unknown(_) => self.unknown_from(from),
                        value => value,
                    };
                }
                (None | Some(',' | '}' | ']' | ')' | ';'), _) => return Ok(Node::new(line, value)),
                // The next statement of a file without semicolons.
                (Some(c), _) if is_name(c) && self.fresh_line(from) && depth == 0 => return Ok(Node::new(line, value)),
                _ => {
                    self.skip_expression();
                    return Ok(Node::new(line, self.unknown_from(from)));
                }
            }
        }
    }

    fn expression_part(&mut self, depth: usize) -> Result<Value, String> {
        self.blank();
        self.primary(depth + 1)
    }

    /// Whether only white space separates this position from the end of a line.
    fn fresh_line(&self, from: usize) -> bool {
        let before = self.chars.get(from..self.at).unwrap_or_default();
        before.iter().rev().take_while(|c| c.is_whitespace()).any(|c| *c == '\n')
    }

    fn unknown_from(&self, from: usize) -> Value {
        let text: String = self.chars.iter().take(self.at).skip(from).take(80).collect();
        Value::Unknown(text.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    /// Skips to the end of an unsupported expression.
    fn skip_expression(&mut self) {
        let mut depth = 0_usize;
        while let Some(c) = self.peek() {
            match c {
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' if depth == 0 => return,
                ')' | ']' | '}' => depth -= 1,
                ',' | ';' if depth == 0 => return,
                '\n' if depth == 0 && self.is_statement_next() => return,
                _ => {}
            }
            self.skip_one();
            if self.peek() == Some('/') {
                self.blank();
            }
        }
    }

    /// Whether the next line begins a statement: most files have no semicolons.
    fn is_statement_next(&self) -> bool {
        let rest = self.chars.get(self.at..).unwrap_or_default();
        let word: String = rest.iter().skip_while(|c| c.is_whitespace()).take_while(|c| is_name(**c)).take(8).collect();
        ["const", "let", "var", "module", "exports", "export", "function"].contains(&word.as_str())
    }

    fn primary(&mut self, depth: usize) -> Result<Value, String> {
        self.count(depth)?;
        let from = self.at;
        match self.peek() {
            Some('{') => self.map(depth),
            Some('[') => self.list(depth),
            Some('(') => {
                self.bump();
                let node = self.expression(depth + 1)?;
                self.blank();
                if self.peek() == Some(')') {
                    self.bump();
                    return Ok(node.value);
                }
                self.skip_expression();
                Ok(self.unknown_from(from))
            }
            Some(quote @ ('"' | '\'' | '`')) => self.string(quote),
            Some(c) if c.is_ascii_digit() || matches!(c, '-' | '.') => {
                let mut text = String::new();
                while let Some(c) = self.peek().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_')) {
                    text.push(c);
                    self.bump();
                }
                Ok(Value::Text(text.replace('_', "")))
            }
            Some(c) if is_name(c) => {
                let name = self.dotted();
                Ok(self.named(&name, from))
            }
            Some(_) => {
                self.skip_expression();
                Ok(self.unknown_from(from))
            }
            None => Err(format!("line {}: unexpected end of file", self.line)),
        }
    }

    fn named(&mut self, name: &str, from: usize) -> Value {
        if let Some(variable) = name.strip_prefix("process.env.") {
            return match (self.lookup)(variable) {
                Some(value) => Value::Text(value),
                // The operand after `||` or `??` is taken then.
                None if self.is_defaulted() => Value::Null,
                None => Value::Unknown(name.to_owned()),
            };
        }
        match name {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            "null" | "undefined" => Value::Null,
            _ => match self.names.iter().rev().find(|(other, _)| other == name).map(|(_, value)| (value.size(), value))
            {
                // Each use counts, as constants of constants could grow without bound.
                Some((size, value)) if self.nodes + size <= MOST_NODES => {
                    let value = value.clone();
                    self.nodes += size;
                    value
                }
                _ => self.unknown_from(from),
            },
        }
    }

    fn is_defaulted(&mut self) -> bool {
        self.blank();
        matches!((self.peek(), self.ahead(1)), (Some('|'), Some('|')) | (Some('?'), Some('?')))
    }

    fn list(&mut self, depth: usize) -> Result<Value, String> {
        let line = self.line;
        self.bump();
        let mut list = Vec::new();
        loop {
            self.blank();
            match self.peek() {
                Some(']') => {
                    self.bump();
                    return Ok(Value::List(list));
                }
                Some(',') => self.bump(),
                Some('}' | ')' | ';') | None => return Err(format!("line {line}: [ is not closed")),
                Some(_) => list.push(self.expression(depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value, String> {
        let line = self.line;
        self.bump();
        let mut entries: Vec<(String, Node)> = Vec::new();
        loop {
            self.blank();
            let here = self.line;
            let from = self.at;
            let key = match self.peek() {
                Some('}') => {
                    self.bump();
                    return Ok(Value::Map(entries));
                }
                Some(',') => {
                    self.bump();
                    continue;
                }
                Some(']' | ')' | ';') | None => return Err(format!("line {line}: {{ is not closed")),
                Some(quote @ ('"' | '\'')) => match self.string(quote)? {
                    Value::Text(key) => key,
                    _ => String::new(),
                },
                Some('.') => {
                    // `...base`: its entries are known if the base is.
                    while self.peek() == Some('.') {
                        self.bump();
                    }
                    match self.expression(depth + 1)?.value {
                        Value::Map(more) => entries.extend(more),
                        _ => {
                            let unknown = self.unknown_from(from);
                            entries.push(("...".into(), Node::new(here, unknown)));
                        }
                    }
                    continue;
                }
                Some(_) => self.dotted(),
            };
            self.blank();
            match self.peek() {
                Some(':') if !key.is_empty() => {
                    self.bump();
                    let node = self.expression(depth + 1)?;
                    entries.push((key, node));
                }
                // `{ cwd }` means `{ cwd: cwd }`.
                Some(',' | '}') if !key.is_empty() => {
                    let value = self.named(&key, from);
                    entries.push((key, Node::new(here, value)));
                }
                _ => {
                    self.skip_expression();
                    let value = self.unknown_from(from);
                    if self.at == from {
                        self.bump();
                    }
                    entries.push((key, Node::new(here, value)));
                }
            }
        }
    }

    fn string(&mut self, quote: char) -> Result<Value, String> {
        let (from, line) = (self.at, self.line);
        self.bump();
        let mut text = String::new();
        let mut known = true;
        while let Some(c) = self.peek() {
            match c {
                c if c == quote => {
                    self.bump();
                    return Ok(if known { Value::Text(text) } else { self.unknown_from(from) });
                }
                '\\' => {
                    self.bump();
                    match self.peek() {
                        Some('n') => text.push('\n'),
                        Some('t') => text.push('\t'),
                        Some('\n') | None => {}
                        Some('u' | 'x') => known = false,
                        Some(c) => text.push(c),
                    }
                    self.bump();
                }
                '$' if quote == '`' && self.ahead(1) == Some('{') => {
                    self.bump();
                    self.bump();
                    let mut inner = String::new();
                    while let Some(c) = self.peek().filter(|c| *c != '}') {
                        inner.push(c);
                        self.bump();
                    }
                    self.bump();
                    match self.named(inner.trim(), from) {
                        Value::Text(value) if text.len() + value.len() <= LONGEST => text.push_str(&value),
                        _ => known = false,
                    }
                }
                '\n' if quote != '`' => break,
                c => {
                    text.push(c);
                    self.bump();
                }
            }
        }
        Err(format!("line {line}: the quote {quote} is not closed"))
    }
}

fn is_name(c: char) -> bool {
    c.is_alphabetic() || c == '_' || c == '$'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Node, String> {
        super::read(text, "/srv/shop", &|name| (name == "SET").then(|| "yes".to_owned()))
    }

    #[test]
    fn what_people_write() {
        let node = read(
            r#"// a comment
const path = require('path')
const base = '/srv';
let args = ['artisan', "queue:work",];
module.exports = {
  apps: [ /* one */ {
    'name': `w-${base}`, script: base + "/shop/artisan", args, instances: 2, watch: false,
    cwd: __dirname, env: { ...process.env, A: process.env.SET, B: process.env.NO || 'b', C: process.env.NO },
    bad: path.join(__dirname, 'x'), cond: 1 > 2 ? 'a' : 'b', fn() { return 1 }, memory: 1_000,
  }],
};
"#,
        )
        .unwrap();
        let app = &node.get("apps").unwrap().list()[0];
        let text = |key: &str| app.get(key).and_then(Node::text).unwrap_or_else(|| panic!("{key}: {app:?}"));
        assert_eq!((text("name"), text("script"), text("instances")), ("w-/srv", "/srv/shop/artisan", "2"));
        assert_eq!((text("cwd"), text("memory"), text("watch")), ("/srv/shop", "1000", "false"));
        assert_eq!(app.get("args").unwrap().list()[1].text(), Some("queue:work"));
        let env = app.get("env").unwrap();
        assert_eq!((env.get("A").unwrap().text(), env.get("B").unwrap().text()), (Some("yes"), Some("b")));
        assert_eq!(env.get("C").unwrap().unknown(), Some("process.env.NO"));
        assert_eq!(app.get("bad").unwrap().unknown(), Some("path.join(__dirname, 'x')"));
        assert_eq!(app.get("cond").unwrap().unknown(), Some("1 > 2 ? 'a' : 'b'"));
        assert_eq!((app.line, app.get("cwd").unwrap().line), (6, 8));
    }

    #[test]
    fn other_shapes() {
        assert_eq!(read("[{\"a\": 1}]").unwrap().list().len(), 1);
        assert!(read("export default { apps: [] }").unwrap().get("apps").is_some());
        assert!(read("exports.apps = [{}]").unwrap().get("apps").is_some());
        for (text, why) in [
            ("", "exports nothing"),
            ("module.exports = require('./x')", "not known without running"),
            ("module.exports = { a: [1", "not closed"),
            ("module.exports = { a: 'x\n }", "not closed"),
            (&"[".repeat(1000), "nested more"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn never_panics_and_ends(text in prop_oneof![".*", r#"((module\.exports = )?[\[\]{}(),:;'"`$+|?/*\n a1.=-]*){0,4}"#]) {
            let _ = read(&text);
        }
    }
}
