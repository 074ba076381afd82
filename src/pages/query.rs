//! The query string of a page.

use form_urlencoded::{Serializer, parse};
use kqueue_system::harmless;

/// Maximum fields read; further ones are ignored.
const FIELDS: usize = 24;
/// Maximum bytes of a field.
const LONGEST: usize = 400;
/// The field with the contents of a message, and its maximum bytes.
const MESSAGE: &str = "with";
const LONGEST_MESSAGE: usize = 32 << 10;

/// A parsed query string: bounded in number and length, and sanitized, since pages show it again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    fields: Vec<(String, String)>,
    message: Option<String>,
}

impl Query {
    /// Parses a query string; never fails.
    pub fn parse(text: &str) -> Self {
        let mut message = None;
        let mut fields = Vec::new();
        for (name, value) in parse(text.as_bytes()).take(FIELDS) {
            match &*name {
                MESSAGE => message = Some(value.trim().to_owned()),
                _ => fields.push((name.into_owned(), harmless::line(value.trim(), LONGEST))),
            }
        }
        if message.as_ref().is_some_and(|text| text.len() > LONGEST_MESSAGE) {
            message = Some(String::new());
        }
        Self { fields, message }
    }

    /// The contents of a message, as they were sent: never shown. Empty if they are blank or too large.
    pub fn message(&self) -> Option<&str> {
        self.message.as_deref()
    }

    /// A field; `None` if it is missing or empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, value)| known == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// All fields.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The same, owned.
    pub fn owned(&self, name: &str) -> Option<String> {
        self.get(name).map(str::to_owned)
    }
}

/// A query string of these fields, without the empty ones.
pub fn encoded<'a>(fields: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut query = Serializer::new(String::new());
    for (name, value) in fields.filter(|(_, value)| !value.is_empty()) {
        query.append_pair(name, value);
    }
    query.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_few_and_short() {
        let query = Query::parse("class=App%5CJobs%5CA+b&tag=&x=%ff&class=second");
        assert_eq!((query.get("class"), query.get("tag"), query.get("no")), (Some(r"App\Jobs\A b"), None, None));
        let long = format!("{}last=1", "a=1&".repeat(FIELDS));
        assert_eq!(Query::parse(&long).get("last"), None);
        assert!(Query::parse(&format!("a={}", "é".repeat(9_999))).get("a").unwrap().len() <= LONGEST);
        assert_eq!(Query::parse("a=b%1bc%0d").get("a"), Some("b c"));
        let mended = Query::parse("with=%7B%0A%1b&a=1");
        assert_eq!((mended.message(), mended.get("with"), mended.fields().count()), (Some("{\n\u{1b}"), None, 1));
        assert_eq!(Query::parse(&format!("with={}", "a".repeat(LONGEST_MESSAGE + 1))).message(), Some(""));
        assert_eq!(Query::parse("a=1").message(), None);
    }
}
