//! A best-effort reader of PHP's `serialize()` format: top-level scalar properties of one object.
//!
//! Lengths in the format are exact, so nested values are skipped without interpretation: a string that looks like a
//! property is never mistaken for one. Skipping uses its own stack of counters, bounded by [`MAX_NESTING`]. Anything
//! malformed yields `None`: only a hint is lost.

/// Maximum nesting of arrays and objects inside a property; a deeper one makes the whole result `None`.
const MAX_NESTING: usize = 4096;

/// A scalar value of a property.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar {
    /// `N;`
    Null,
    /// `b:1;`
    Bool(bool),
    /// `i:42;`
    Int(i64),
    /// `d:0.5;`
    Float(f64),
}

impl Scalar {
    /// A boolean, or the integer 0 or 1.
    pub fn boolean(&self) -> Option<bool> {
        match *self {
            Self::Bool(value) => Some(value),
            Self::Int(0) => Some(false),
            Self::Int(1) => Some(true),
            _ => None,
        }
    }

    /// An integer; the fraction of a float is dropped.
    pub fn integer(&self) -> Option<i64> {
        match *self {
            Self::Int(value) => Some(value),
            Self::Float(value) => super::scalar::whole(value),
            _ => None,
        }
    }

    /// An integer or a float.
    pub fn float(&self) -> Option<f64> {
        match *self {
            Self::Int(value) => Some(value as f64),
            Self::Float(value) => Some(value),
            _ => None,
        }
    }
}

/// The scalar properties `names` of the serialised object `bytes`, in the order of `names`.
///
/// Public (`x`), protected (`\0*\0x`) and private (`\0Class\0x`) properties are found. A private property of a parent
/// class is skipped: it may precede a property of the object itself with the same name. A property that is absent, or
/// is not a number, boolean or null, is `None`. The whole result is `None` for anything but an object, and for
/// malformed text.
pub fn properties<const N: usize>(bytes: &[u8], names: [&str; N]) -> Option<[Option<Scalar>; N]> {
    let mut reader = Reader { rest: bytes };
    let mut seen = [false; N];
    let mut found = [None; N];
    reader.expect(b"O:")?;
    let (class, count) = reader.object_head()?;
    for _ in 0..count {
        let key = reader.key()?;
        let wanted = key.and_then(|key| {
            let plain = unmangled(key, class)?;
            names.iter().position(|name| name.as_bytes() == plain)
        });
        match wanted.and_then(|index| Some((seen.get_mut(index)?, found.get_mut(index)?))) {
            Some((known, place)) if !*known => {
                *known = true;
                *place = reader.value()?;
                if seen.iter().all(|seen| *seen) {
                    return Some(found);
                }
            }
            _ => {
                reader.value()?;
            }
        }
    }
    reader.expect(b"}")?;
    Some(found)
}

/// The property `name` of the serialised object in the JSON string `json`, if it is a string.
pub(super) fn text_property(json: &str, name: &str) -> Option<String> {
    let command: String = serde_json::from_str(json).ok()?;
    text_of(command.as_bytes(), name)
}

/// The property `name` of the serialised object `bytes`, if it is a string.
pub(super) fn text_of(bytes: &[u8], name: &str) -> Option<String> {
    let mut reader = Reader { rest: bytes };
    reader.expect(b"O:")?;
    let (class, count) = reader.object_head()?;
    for _ in 0..count {
        let key = reader.key()?;
        if key.and_then(|key| unmangled(key, class)) == Some(name.as_bytes()) {
            reader.expect(b"s:")?;
            return String::from_utf8(reader.quoted()?.to_vec()).ok();
        }
        reader.value()?;
    }
    None
}

/// The name of a property of `class` without its visibility prefix; `None` for a private property of a parent.
fn unmangled<'a>(key: &'a [u8], class: &[u8]) -> Option<&'a [u8]> {
    let Some(marked) = key.strip_prefix(b"\0") else {
        return Some(key);
    };
    let mut parts = marked.splitn(2, |byte| *byte == 0);
    let (owner, name) = (parts.next()?, parts.next()?);
    (owner == b"*" || owner == class).then_some(name)
}

/// The remaining input.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn expect(&mut self, text: &[u8]) -> Option<()> {
        self.rest = self.rest.strip_prefix(text)?;
        Some(())
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    /// Text up to `end`, which is consumed; at most 63 bytes, since it is a number or a length.
    fn until(&mut self, end: u8) -> Option<&'a str> {
        let length = self.rest.iter().take(64).position(|byte| *byte == end)?;
        let text = self.take(length)?;
        self.byte()?;
        std::str::from_utf8(text).ok()
    }

    /// A length or a count, up to and including the colon. A sign is rejected: `usize` would parse a plus.
    fn length(&mut self) -> Option<usize> {
        let text = self.until(b':')?;
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        text.parse().ok()
    }

    /// A string after its type and colon: `3:"abc"`.
    fn quoted(&mut self) -> Option<&'a [u8]> {
        let length = self.length()?;
        self.expect(b"\"")?;
        let text = self.take(length)?;
        self.expect(b"\"")?;
        Some(text)
    }

    /// `1:"T":2:{`, after `O:`: the class and the number of properties.
    fn object_head(&mut self) -> Option<(&'a [u8], usize)> {
        let class = self.quoted()?;
        self.expect(b":")?;
        let count = self.length()?;
        self.expect(b"{")?;
        Some((class, count))
    }

    /// A key: `Some(Some(text))` for a string key, `Some(None)` for an integer key.
    fn key(&mut self) -> Option<Option<&'a [u8]>> {
        match self.byte()? {
            b's' => {
                self.expect(b":")?;
                let text = self.quoted()?;
                self.expect(b";")?;
                Some(Some(text))
            }
            b'i' => {
                self.expect(b":")?;
                self.until(b';')?.parse::<i64>().ok()?;
                Some(None)
            }
            _ => None,
        }
    }

    /// One value including nested ones: `Some(Some(scalar))` for a scalar, `Some(None)` for any other type.
    fn value(&mut self) -> Option<Option<Scalar>> {
        // Remaining keys and values at each open level.
        let mut open: Vec<usize> = Vec::new();
        let mut first = None;
        loop {
            match self.one()? {
                One::Scalar(scalar) if open.is_empty() => first = Some(scalar),
                One::Scalar(_) | One::Other => {}
                One::Opened(count) => {
                    if open.len() >= MAX_NESTING {
                        return None;
                    }
                    open.push(count.checked_mul(2)?);
                }
            }
            loop {
                match open.last_mut() {
                    None => return Some(first),
                    Some(0) => {
                        self.expect(b"}")?;
                        open.pop();
                    }
                    Some(left) => {
                        *left -= 1;
                        break;
                    }
                }
            }
        }
    }

    /// The next scalar or string, or the head of an array or object.
    fn one(&mut self) -> Option<One> {
        let kind = self.byte()?;
        if kind == b'N' {
            self.expect(b";")?;
            return Some(One::Scalar(Scalar::Null));
        }
        self.expect(b":")?;
        Some(match kind {
            b'b' => One::Scalar(Scalar::Bool(match self.until(b';')? {
                "0" => false,
                "1" => true,
                _ => return None,
            })),
            b'i' => One::Scalar(Scalar::Int(self.until(b';')?.parse().ok()?)),
            b'd' => One::Scalar(Scalar::Float(match self.until(b';')? {
                "INF" => f64::INFINITY,
                "-INF" => f64::NEG_INFINITY,
                "NAN" => f64::NAN,
                number => number.parse().ok()?,
            })),
            // A string, or an enum case.
            b's' | b'E' => {
                self.quoted()?;
                self.expect(b";")?;
                One::Other
            }
            // A back reference.
            b'r' | b'R' => {
                self.until(b';')?.parse::<u64>().ok()?;
                One::Other
            }
            b'a' => {
                let count = self.length()?;
                self.expect(b"{")?;
                One::Opened(count)
            }
            b'O' => One::Opened(self.object_head()?.1),
            // An object with custom serialisation (`Serializable`): `C:1:"T":5:{.....}`.
            b'C' => {
                let (_, length) = self.object_head()?;
                self.take(length)?;
                self.expect(b"}")?;
                One::Other
            }
            _ => return None,
        })
    }
}

/// The result of [`Reader::one`]; `Opened` has the number of elements.
enum One {
    Scalar(Scalar),
    Opened(usize),
    Other,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NAMES: [&str; 2] = ["isolated", "maxMemory"];

    fn read(text: &str) -> Option<[Option<Scalar>; 2]> {
        properties(text.as_bytes(), NAMES)
    }

    const BOTH: Option<[Option<Scalar>; 2]> = Some([Some(Scalar::Bool(true)), Some(Scalar::Int(256))]);

    #[test]
    fn properties_are_found_whatever_their_visibility() {
        for text in [
            "O:1:\"T\":2:{s:8:\"isolated\";b:1;s:9:\"maxMemory\";i:256;}",
            "O:1:\"T\":2:{s:11:\"\0*\0isolated\";b:1;s:12:\"\0T\0maxMemory\";i:256;}",
            "O:1:\"T\":3:{s:9:\"maxMemory\";i:256;s:1:\"x\";N;s:8:\"isolated\";b:1;}",
            "O:1:\"T\":3:{s:11:\"\0P\0isolated\";b:0;s:8:\"isolated\";b:1;s:9:\"maxMemory\";i:256;}",
        ] {
            assert_eq!(read(text), BOTH, "{text}");
        }
    }

    #[test]
    fn what_is_nested_is_skipped_exactly() {
        let decoys = "s:1:\"a\";a:2:{i:0;s:22:\"s:8:\"isolated\";b:0;abc\";i:1;O:1:\"U\":1:{s:8:\"isolated\";b:0;}}\
            s:1:\"b\";C:1:\"C\":3:{}}}}s:1:\"c\";E:5:\"E:One\";s:1:\"d\";r:1;s:1:\"e\";R:2;s:1:\"f\";d:1.0E+25;\
            i:7;d:-INF;s:1:\"g\";a:0:{}";
        let text = format!("O:1:\"T\":10:{{{decoys}s:8:\"isolated\";b:1;s:9:\"maxMemory\";i:256;}}");
        assert_eq!(read(&text), BOTH);
    }

    #[test]
    fn other_types_and_absence_are_none() {
        assert_eq!(read("O:1:\"T\":1:{s:8:\"isolated\";s:1:\"1\";}"), Some([None, None]));
        assert_eq!(read("O:1:\"T\":1:{s:8:\"isolated\";a:1:{i:0;b:1;}}"), Some([None, None]));
        assert_eq!(read("O:1:\"T\":1:{s:8:\"isolated\";N;}"), Some([Some(Scalar::Null), None]));
        assert_eq!(read("O:1:\"T\":0:{}"), Some([None, None]));
        assert_eq!(Scalar::Null.boolean(), None);
        assert_eq!(Scalar::Int(1).boolean(), Some(true));
        assert_eq!(Scalar::Int(2).boolean(), None);
        assert_eq!(Scalar::Float(256.9).integer(), Some(256));
        assert_eq!(Scalar::Float(f64::NAN).integer(), None);
    }

    #[test]
    fn damage_is_none() {
        for text in [
            "",
            "O",
            "O:",
            "a:0:{}",
            "O:1:\"T\":1:{}",
            "O:1:\"T\":1:{s:8:\"isolated\";b:1;",
            "O:1:\"T\":1:{s:8:\"isolated\";b:2;}",
            "O:1:\"T\":1:{s:9:\"isolated\";b:1;}",
            "O:1:\"T\":1:{s:+8:\"isolated\";b:1;}",
            "O:1:\"T\":1:{s:18446744073709551616:\"x\";b:1;}",
            "O:1:\"T\":1:{s:1:\"x\";a:18446744073709551615:{}}",
            "O:1:\"T\":1:{s:1:\"x\";i:99999999999999999999;}",
            "O:1:\"T\":1:{d:1.0;b:1;}",
            "O:1:\"T\":18446744073709551615:{",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn deep_nesting_ends_in_none_not_in_a_crash() {
        let nest = |depth: usize| {
            format!(
                "O:1:\"T\":2:{{s:1:\"x\";{}N;{}s:8:\"isolated\";b:1;}}",
                "a:1:{i:0;".repeat(depth),
                "}".repeat(depth)
            )
        };
        assert_eq!(read(&nest(MAX_NESTING)), Some([Some(Scalar::Bool(true)), None]));
        assert_eq!(read(&nest(MAX_NESTING + 1)), None);
        assert_eq!(read(&nest(1_000_000)), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            properties(&bytes, NAMES);
        }

        #[test]
        fn text_of_the_right_letters_never_panics(
            text in "O:1:\"T\":[0-9]{1,20}:\\{([sbidaOCErRN]|[0-9]{1,3}|[:;\"{}]|isolated){0,60}\\}?"
        ) {
            read(&text);
        }
    }
}
