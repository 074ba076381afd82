//! Makes text from outside (an app, a message, a server, a file) harmless before it reaches a terminal, a log or a unit
//! file.
//!
//! The only definition of harmful characters: those that end a line early, move a cursor, start an escape sequence, or
//! reorder or hide text beside them. Joiners are kept: emoji and several scripts need them.

use serde_json::Value;

/// Replaces the rest of a text that was cut.
const CUT: &str = "…";

/// Whether this character could mislead a terminal, a log or a reader.
pub const fn is_harmful(c: char) -> bool {
    // C0, DEL and C1, of which some are escape sequences of one character.
    matches!(c, '\0'..='\x1f' | '\x7f'..='\u{9f}'
        // Invisible: soft hyphen, zero-width space, word joiner, byte order mark, tags, annotations.
        | '\u{ad}' | '\u{180e}' | '\u{200b}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        // Line and paragraph separators; marks, embeddings, overrides and isolates of the reading direction.
        | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
}

/// One line of at most `most` bytes. A harmful character becomes a space.
pub fn line(text: &str, most: usize) -> String {
    shortened(text, most, |c| if is_harmful(c) { ' ' } else { c })
}

/// As [`line()`], with runs of white space collapsed into one space, and none at either end.
pub fn words(text: &str, most: usize) -> String {
    // Bounds the work: most of a text can be white space.
    let text = line(&text[..text.floor_char_boundary(most.saturating_mul(8))], usize::MAX);
    let words: Vec<&str> = text.split_whitespace().collect();
    line(&words.join(" "), most)
}

/// As [`line()`], of any length: for text that is cut elsewhere, or must not be cut.
pub fn whole_line(text: &str) -> String {
    line(text, usize::MAX)
}

/// A text of several lines, of any length: line feeds and tabs stay.
pub fn block(text: &str) -> String {
    shortened(text, usize::MAX, |c| if is_harmful(c) && !matches!(c, '\n' | '\t') { ' ' } else { c })
}

/// Turns every text in a value into such a [`line()`], keys too.
pub fn value(value: Value, most: usize) -> Value {
    texts(value, &|text| line(text, most))
}

/// Turns every text in a value into such a [`block()`], keys too.
pub fn value_of_blocks(value: Value) -> Value {
    texts(value, &block)
}

fn texts(value: Value, clean: &impl Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(clean(&text)),
        Value::Array(list) => list.into_iter().map(|part| texts(part, clean)).collect(),
        Value::Object(map) => map.into_iter().map(|(key, part)| (clean(&key), texts(part, clean))).collect(),
        plain => plain,
    }
}

fn shortened(text: &str, most: usize, replaced: impl Fn(char) -> char) -> String {
    let mut made = String::with_capacity(text.len().min(most));
    // Where to cut if the text does not fit: the last position with room for the ellipsis.
    let mut cut = 0;
    for c in text.chars().map(replaced) {
        if made.len() + c.len_utf8() > most {
            made.truncate(cut);
            if cut + CUT.len() <= most {
                made.push_str(CUT);
            }
            return made;
        }
        made.push(c);
        if made.len() + CUT.len() <= most {
            cut = made.len();
        }
    }
    made
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_stays_a_line() {
        assert_eq!(line("a\nb\u{1b}[31m\r\0\u{202e}c\u{85}", 99), "a b [31m   c ");
        assert_eq!(line("\u{9b}2J\u{7f}\u{200f}\u{2067}\u{feff}\u{e0041}x", 99), " 2J     x");
        assert_eq!(words("  a \n\t b\u{1b}\u{2028} c ", 99), "a b c");
        assert_eq!(block("a\n\tb\r\u{1b}[1m"), "a\n\tb  [1m");
    }

    #[test]
    fn what_people_write_stays() {
        let text = "Grüße, \u{645}\u{6cc}\u{200c}\u{62e}, 👩\u{200d}🔧, 日本";
        assert_eq!(line(text, 999), text);
        assert_eq!(whole_line(text), text);
    }

    #[test]
    fn values_within_values() {
        let given = serde_json::json!({"a\u{1b}": ["b\n", {"c": "\u{202e}d"}, 1, null]});
        assert_eq!(value(given, 9), serde_json::json!({"a ": ["b ", {"c": " d"}, 1, null]}));
    }

    #[test]
    fn cut_between_characters_with_an_ellipsis() {
        assert_eq!(line("abc", 3), "abc");
        assert_eq!(line("abcdefgh", 6), "abc…");
        assert_eq!(line("ééé", 5), "é…");
        assert_eq!(line("abcd", 3), "…");
        assert_eq!(line("abcd", 2), "");
        assert_eq!(line("", 0), "");
        assert_eq!(words("a      b", 3), "a b");
    }

    proptest! {
        #[test]
        fn never_harmful_and_never_too_long(
            text in prop_oneof![".*", r"[\x00-\x{2fff}]*", r"[\s\p{Cc}\p{Cf}a]*"],
            most in 0_usize..40,
        ) {
            for made in [line(&text, most), words(&text, most)] {
                prop_assert!(made.len() <= most);
                prop_assert!(!made.chars().any(|c| c.is_control() || is_harmful(c)), "{:?}", made);
            }
            let whole = whole_line(&text);
            prop_assert_eq!(whole.chars().count(), text.chars().count());
            prop_assert!(!whole.chars().any(|c| c.is_control() || is_harmful(c)), "{:?}", whole);
            let same = |(old, new)| old == new || (is_harmful(old) && new == ' ');
            prop_assert!(text.chars().zip(whole.chars()).all(same));
            prop_assert_eq!(block(&text).matches('\n').count(), text.matches('\n').count());
        }
    }
}
