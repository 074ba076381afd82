//! Parts of an X.509 certificate that the TLS library does not expose: names as OpenSSL matches them, and dates. Pure.

/// Tags of DER.
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const OBJECT_IDENTIFIER: u8 = 0x06;
/// `2.5.4.3`
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// Parts of a certificate.
#[derive(Debug)]
pub(super) struct Certificate<'a> {
    issuer: &'a [u8],
    subject: &'a [u8],
    not_before: String,
    not_after: String,
}

impl<'a> Certificate<'a> {
    /// Parses DER; `None` if it is malformed.
    pub(super) fn parse(der: &'a [u8]) -> Option<Self> {
        let mut signed = Der(Der(der).element(SEQUENCE)?.element(SEQUENCE)?.0);
        if signed.0.first() == Some(&VERSION) {
            signed.next()?;
        }
        let (_serial, _algorithm) = (signed.next()?, signed.next()?);
        let issuer = signed.element(SEQUENCE)?.0;
        let mut validity = signed.element(SEQUENCE)?;
        let (not_before, not_after) = (time(validity.next()?)?, time(validity.next()?)?);
        let subject = signed.element(SEQUENCE)?.0;
        Some(Self { issuer, subject, not_before, not_after })
    }

    /// Whether it is its own issuer.
    pub(super) fn is_self_signed(&self) -> bool {
        self.issuer == self.subject
    }

    /// Whether it is valid at a time in seconds since the epoch; `None` for a time out of range.
    pub(super) fn is_valid_at(&self, now: i64) -> Option<bool> {
        let now = jiff::Timestamp::from_second(now).ok()?.strftime("%Y%m%d%H%M%S").to_string();
        Some(self.not_before <= now && now <= self.not_after)
    }

    /// Whether its common name matches `host`; `*.` in front matches one label.
    pub(super) fn is_called(&self, host: &str) -> bool {
        let attributes = Der(self.subject).flat_map(|(_, set)| Der(set)).map(|(_, attribute)| Der(attribute));
        let mut names = attributes.filter_map(|mut attribute| {
            (attribute.next()? == (OBJECT_IDENTIFIER, COMMON_NAME)).then(|| attribute.next())?
        });
        names.any(|(_, name)| {
            let name = String::from_utf8_lossy(name).to_ascii_lowercase();
            let host = host.to_ascii_lowercase();
            match (name.strip_prefix("*."), host.split_once('.')) {
                (Some(parent), Some((_, domain))) => parent == domain && parent.contains('.'),
                _ => name == host,
            }
        })
    }
}

/// A time as fourteen digits, from year to second. A UTCTime has only two digits for the year.
fn time((tag, text): (u8, &[u8])) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let century = match tag {
        UTC_TIME if text < "50" => "20",
        UTC_TIME => "19",
        _ => "",
    };
    Some(format!("{century}{text}"))
}

/// DER that is still to be read.
struct Der<'a>(&'a [u8]);

impl<'a> Iterator for Der<'a> {
    type Item = (u8, &'a [u8]);

    /// The next element: its tag and its content.
    fn next(&mut self) -> Option<Self::Item> {
        let [tag, length, rest @ ..] = self.0 else {
            return None;
        };
        let (length, rest) = match length {
            0..0x80 => (usize::from(*length), rest),
            _ => {
                let (bytes, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
                (bytes.iter().try_fold(0_usize, |sum, &byte| sum.checked_mul(256)?.checked_add(byte.into()))?, rest)
            }
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((*tag, content))
    }
}

impl Der<'_> {
    /// The content of the next element, which must have this tag.
    fn element(&mut self, tag: u8) -> Option<Self> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, content)| Self(content))
    }
}
