//! Text as unit files take it. Pure.
//!
//! A value must have no control characters: nothing can stand for a newline everywhere. The settings are
//! checked for that.

/// A value that is the whole line and has neither blanks around it nor a backslash at its end: `%` begins a
/// specifier.
pub fn literal(text: &str) -> String {
    text.replace('%', "%%")
}

/// One of several words: between quotes, where a backslash takes the next character as it is.
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
