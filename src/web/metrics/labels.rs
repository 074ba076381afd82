//! Labels whose values come from apps.

use std::fmt::{self, Write as _};

use kqueue_system::harmless;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelSetEncoder, LabelValueEncoder};

/// Maximum length of a value in bytes.
const LONGEST: usize = 160;

/// Names and values of labels.
#[derive(Clone, Debug)]
pub struct Labels<'a>(pub Vec<(&'static str, &'a str)>);

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        for (name, value) in &self.0 {
            prometheus_client::encoding::EncodeLabel::encode(&(*name, Value(value)), encoder.encode_label())?;
        }
        Ok(())
    }
}

/// A value, made harmless, and escaped, which the encoder does not do.
#[derive(Clone, Copy, Debug)]
struct Value<'a>(&'a str);

impl EncodeLabelValue for Value<'_> {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        for c in harmless::line(self.0, LONGEST).chars() {
            if matches!(c, '\\' | '"') {
                encoder.write_char('\\')?;
            }
            encoder.write_char(c)?;
        }
        Ok(())
    }
}
