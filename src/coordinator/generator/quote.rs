//! Escaping for unit files. Pure.
//!
//! A value must not contain control characters: there is no escape for a newline that works everywhere. The settings
//! are checked for that.

/// Escapes a value that takes up the whole line: `%` begins a specifier. It must not have surrounding blanks or a
/// trailing backslash.
pub fn literal(text: &str) -> String {
    text.replace('%', "%%")
}

/// Quotes one of several words; within quotes, a backslash escapes the next character.
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", literal(text).replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        let cases = [
            ("/srv/shop", r#""/srv/shop""#),
            ("/srv/my shop", r#""/srv/my shop""#),
            ("/srv/100%i", r#""/srv/100%%i""#),
            (r#"/srv/a"b'c"#, r#""/srv/a\"b'c""#),
            (r"/srv/end\", r#""/srv/end\\""#),
        ];
        for (text, word) in cases {
            assert_eq!(quoted(text), word);
        }
    }
}
