//! Splits a command line as a shell does: quotes, variables, operators, redirections. Pure; runs nothing.

/// Encloses the name of a variable without a value inside a word. See [`shown`].
const UNKNOWN: char = '\u{1}';
/// Maximum words of a line.
const MOST_WORDS: usize = 4096;

/// Whether the line is for a shell, or for a program that knows only quotes (supervisord, pm2), where an operator
/// counts only as a separate word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Dialect {
    Shell,
    Words,
}

/// One command of a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Simple {
    pub words: Vec<String>,
    pub redirections: Vec<String>,
    /// The operator that ends it; empty if none.
    pub ends: &'static str,
}

/// Source of variables' values, and notes on their use.
pub(super) struct Variables<'a> {
    pub lookup: &'a dyn Fn(&str) -> Option<String>,
    pub said: Vec<String>,
}

impl Variables<'_> {
    /// Expands `${NAME:-default}` and the like; `inner` is without the braces.
    fn braces(&mut self, inner: &str) -> String {
        let end = inner.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inner.len());
        let (name, rest) = inner.split_at(end);
        if name.is_empty() {
            return unknown(&format!("{{{inner}}}"));
        }
        let value = (self.lookup)(name);
        let (colon, rest) = match rest.strip_prefix(':') {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let set = value.clone().filter(|value| !colon || !value.is_empty());
        match (rest.chars().next(), set) {
            (None, Some(value)) => self.known(name, value),
            (Some('-' | '=' | '?'), Some(value)) => self.known(name, value),
            (Some('-' | '='), None) => {
                let default = rest[1..].to_owned();
                self.say(format!("${{{name}}} is not set; using its default {default:?}"));
                default
            }
            (Some('+'), Some(_)) => rest[1..].to_owned(),
            (Some('+'), None) => String::new(),
            _ => unknown(name),
        }
    }

    fn plain(&mut self, name: &str) -> String {
        match (self.lookup)(name) {
            Some(value) => self.known(name, value),
            None => unknown(name),
        }
    }

    fn known(&mut self, name: &str, value: String) -> String {
        // Values are often secrets, so the note has only the name.
        self.say(format!("expanded ${{{name}}} from the file or the environment of this command"));
        value
    }

    fn say(&mut self, what: String) {
        if !self.said.contains(&what) {
            self.said.push(what);
        }
    }
}

fn unknown(name: &str) -> String {
    format!("{UNKNOWN}{name}{UNKNOWN}")
}

/// The first variable without a value in a word.
pub(super) fn missing(word: &str) -> Option<&str> {
    word.split(UNKNOWN).nth(1)
}

/// A word with its unknown variables as written.
pub(in crate::cli) fn shown(word: &str) -> String {
    let mut out = String::new();
    for (at, part) in word.split(UNKNOWN).enumerate() {
        match at % 2 {
            0 => out.push_str(part),
            _ => out += &format!("${{{part}}}"),
        }
    }
    out
}

/// Splits a line into its commands.
///
/// # Errors
/// The syntax error.
pub(super) fn split(line: &str, dialect: Dialect, variables: &mut Variables<'_>) -> Result<Vec<Simple>, String> {
    let line = line.replace(UNKNOWN, " ").replace("\\\n", " ");
    let mut splitter = Splitter {
        chars: line.chars().collect(),
        at: 0,
        dialect,
        word: None,
        simple: Simple::default(),
        redirect: None,
        out: Vec::new(),
        words: 0,
    };
    splitter.run(variables)?;
    Ok(splitter.out)
}

struct Splitter {
    chars: Vec<char>,
    at: usize,
    dialect: Dialect,
    /// The current word.
    word: Option<String>,
    simple: Simple,
    /// A redirection still without its target.
    redirect: Option<String>,
    out: Vec<Simple>,
    words: usize,
}

impl Splitter {
    fn run(&mut self, variables: &mut Variables<'_>) -> Result<(), String> {
        while let Some(c) = self.peek(0) {
            match c {
                '\'' => {
                    self.at += 1;
                    let text = self.until('\'')?;
                    self.push(&text);
                }
                '"' => {
                    self.at += 1;
                    self.double(variables)?;
                }
                '\\' => {
                    self.at += 1;
                    if let Some(next) = self.peek(0) {
                        self.push(&next.to_string());
                        self.at += 1;
                    }
                }
                '$' | '`' => {
                    let value = self.dollar(variables)?;
                    self.push_split(&value)?;
                }
                '\n' if self.dialect == Dialect::Shell => {
                    self.at += 1;
                    self.command(";")?;
                }
                c if c.is_whitespace() => {
                    self.at += 1;
                    self.end_word()?;
                }
                '#' if self.word.is_none() && self.dialect == Dialect::Shell => {
                    while self.peek(0).is_some_and(|c| c != '\n') {
                        self.at += 1;
                    }
                }
                c => {
                    if !self.operator()? {
                        self.push(&c.to_string());
                        self.at += 1;
                    }
                }
            }
        }
        self.command("")
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn push(&mut self, text: &str) {
        self.word.get_or_insert_default().push_str(text);
    }

    /// Adds an unquoted value: white space in it separates words.
    fn push_split(&mut self, text: &str) -> Result<(), String> {
        let mut first = true;
        for part in text.split(char::is_whitespace) {
            if !first {
                self.end_word()?;
            }
            if !part.is_empty() {
                self.push(part);
            }
            first = false;
        }
        Ok(())
    }

    fn until(&mut self, end: char) -> Result<String, String> {
        let mut text = String::new();
        while let Some(c) = self.peek(0) {
            self.at += 1;
            if c == end {
                return Ok(text);
            }
            text.push(c);
        }
        Err(format!("the quote {end} is not closed"))
    }

    fn double(&mut self, variables: &mut Variables<'_>) -> Result<(), String> {
        self.push("");
        while let Some(c) = self.peek(0) {
            match c {
                '"' => {
                    self.at += 1;
                    return Ok(());
                }
                '\\' if self.peek(1).is_some_and(|next| "\"\\$`\n".contains(next)) => {
                    self.push(&self.peek(1).unwrap_or_default().to_string());
                    self.at += 2;
                }
                '$' | '`' => {
                    let value = self.dollar(variables)?;
                    self.push(&value);
                }
                c => {
                    self.push(&c.to_string());
                    self.at += 1;
                }
            }
        }
        Err("the quote \" is not closed".into())
    }

    /// The value of the expansion at a `$` or a backtick.
    fn dollar(&mut self, variables: &mut Variables<'_>) -> Result<String, String> {
        if self.peek(0) == Some('`') {
            self.at += 1;
            return Ok(substituted(&self.until('`')?));
        }
        self.at += 1;
        match self.peek(0) {
            Some('{') => {
                self.at += 1;
                let inner = self.nested('{', '}')?;
                Ok(variables.braces(&inner))
            }
            Some('(') => {
                self.at += 1;
                Ok(substituted(&self.nested('(', ')')?))
            }
            Some('$') => {
                self.at += 1;
                Ok("$".into())
            }
            Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                let mut name = String::new();
                while let Some(c) = self.peek(0).filter(|c| c.is_ascii_alphanumeric() || *c == '_') {
                    name.push(c);
                    self.at += 1;
                }
                Ok(variables.plain(&name))
            }
            Some(c) if c.is_ascii_digit() || "@*#?!".contains(c) => {
                self.at += 1;
                Ok(unknown(&c.to_string()))
            }
            _ => Ok("$".into()),
        }
    }

    fn nested(&mut self, open: char, close: char) -> Result<String, String> {
        let (mut text, mut depth) = (String::new(), 1);
        while let Some(c) = self.peek(0) {
            self.at += 1;
            if c == open {
                depth += 1;
            } else if c == close {
                depth -= 1;
                if depth == 0 {
                    return Ok(text);
                }
            }
            text.push(c);
        }
        Err(format!("{open} is not closed"))
    }

    fn end_word(&mut self) -> Result<(), String> {
        let Some(word) = self.word.take() else { return Ok(()) };
        self.words += 1;
        if self.words > MOST_WORDS {
            return Err(format!("it has more than {MOST_WORDS} words"));
        }
        match self.redirect.take() {
            Some(operator) => self.simple.redirections.push(format!("{operator} {}", shown(&word))),
            None => self.simple.words.push(word),
        }
        Ok(())
    }

    fn command(&mut self, ends: &'static str) -> Result<(), String> {
        self.end_word()?;
        if let Some(operator) = self.redirect.take() {
            self.simple.redirections.push(operator);
        }
        let mut simple = std::mem::take(&mut self.simple);
        simple.ends = ends;
        if !simple.words.is_empty() || !simple.redirections.is_empty() || ends == ")" {
            self.out.push(simple);
        }
        Ok(())
    }

    /// Consumes an operator, if one is next.
    fn operator(&mut self) -> Result<bool, String> {
        let shell = self.dialect == Dialect::Shell;
        if !shell && self.word.is_some() {
            return Ok(false);
        }
        if self.redirection() {
            return Ok(true);
        }
        for operator in ["&&", "||", ";;", "|&", ";", "|", "&", "(", ")"] {
            let length = operator.len();
            if !operator.chars().enumerate().all(|(at, c)| self.peek(at) == Some(c)) {
                continue;
            }
            if !shell && self.peek(length).is_some_and(|c| !c.is_whitespace()) {
                return Ok(false);
            }
            self.at += length;
            self.command(operator)?;
            return Ok(true);
        }
        Ok(false)
    }

    /// Consumes `>`, `2>>`, `&>`, `2>&1`, `<` and the like; a target that is a word follows.
    fn redirection(&mut self) -> bool {
        let mut ahead = 0;
        // Digits belong to it only if they are the whole word.
        let digits = self.word.as_ref().is_none_or(String::is_empty);
        if digits {
            while self.peek(ahead).is_some_and(|c| c.is_ascii_digit()) {
                ahead += 1;
            }
        }
        if self.peek(ahead) == Some('&') && self.peek(ahead + 1) == Some('>') {
            ahead += 1;
        }
        if !matches!(self.peek(ahead), Some('>' | '<')) {
            return false;
        }
        while self.peek(ahead).is_some_and(|c| matches!(c, '>' | '<' | '|')) {
            ahead += 1;
        }
        let duplicate = self.peek(ahead) == Some('&');
        if duplicate {
            ahead += 1;
            while self.peek(ahead).is_some_and(|c| c.is_ascii_digit() || c == '-') {
                ahead += 1;
            }
        }
        let operator: String = self.chars[self.at..self.at + ahead].iter().collect();
        if self.end_word().is_err() {
            return false;
        }
        self.at += ahead;
        if duplicate && operator.ends_with(|c: char| c.is_ascii_digit() || c == '-') {
            self.simple.redirections.push(operator);
        } else {
            self.redirect = Some(operator);
        }
        true
    }
}

/// The value of a command substitution: known only for the usual ways to find PHP.
fn substituted(command: &str) -> String {
    match command.split_whitespace().collect::<Vec<_>>().as_slice() {
        ["which", program] | ["command", "-v", program] | ["type", "-p", program] => (*program).to_owned(),
        _ => unknown(&format!("({command})")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(line: &str, dialect: Dialect) -> (Vec<Simple>, Vec<String>) {
        let lookup = |name: &str| (name == "KNOWN").then(|| "a b".to_owned());
        let mut variables = Variables { lookup: &lookup, said: Vec::new() };
        let simples = split(line, dialect, &mut variables).unwrap_or_else(|error| panic!("{line}: {error}"));
        (simples, variables.said)
    }

    fn words(line: &str) -> Vec<String> {
        let (simples, _) = read(line, Dialect::Shell);
        simples.iter().map(|simple| simple.words.join("·") + simple.ends).collect()
    }

    #[test]
    fn words_and_operators() {
        for (line, expected) in [
            ("a 'b c' \"d \\\"e\" f\\ g", &["a·b c·d \"e·f g"][..]),
            ("a && b||c; d & e\nf", &["a&&", "b||", "c;", "d&", "e;", "f"]),
            ("a # b", &["a"]),
            ("a#b ''", &["a#b·"]),
            ("a >> /x 2>&1 b", &["a·b"]),
            ("a 2>/dev/null <x", &["a"]),
            ("a2>x", &["a2"]),
            ("$KNOWN \"$KNOWN\" ${KNOWN}", &["a·b·a b·a·b"]),
            ("${X:-y z} \"${X:-y z}\" ${KNOWN:+w}$", &["y·z·y z·w$"]),
            ("$(which php) `command -v php8.3`", &["php·php8.3"]),
            ("(cd a; b)", &["cd·a;", "b)"]),
        ] {
            assert_eq!(words(line), expected, "{line}");
        }
        let (simples, _) = read("a --queue=x;y ;z && b >> /log 2>&1", Dialect::Words);
        assert_eq!(simples[0].words, ["a", "--queue=x;y", ";z"]);
        assert_eq!(simples[1].words, ["b"]);
        assert_eq!(simples[1].redirections, [">> /log", "2>&1"]);
    }

    #[test]
    fn variables() {
        let (simples, said) = read("a=$NO \"${NO}/x\" $KNOWN ${X:-3}", Dialect::Shell);
        assert_eq!(missing(&simples[0].words[0]), Some("NO"));
        assert_eq!(shown(&simples[0].words[1]), "${NO}/x");
        assert_eq!(said.len(), 2, "{said:?}");
        for line in ["'a", "\"a", "${a", "$(a", "`a"] {
            let mut variables = Variables { lookup: &|_| None, said: Vec::new() };
            assert!(split(line, Dialect::Shell, &mut variables).unwrap_err().contains("not closed"), "{line}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(line in prop_oneof![".*", r#"[ a$(){}<>&|;'"`\\0-9:=-]*"#]) {
            for dialect in [Dialect::Shell, Dialect::Words] {
                let _ = split(&line, dialect, &mut Variables { lookup: &|_| Some(" x".into()), said: Vec::new() });
            }
        }
    }
}
