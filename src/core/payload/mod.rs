//! Reads the metadata of a queued message, from bytes that are never changed.
//!
//! A payload belongs to Laravel and is passed on as opaque bytes. This module reads the few fields that the runtime
//! uses as hints for placement and for limits; none of them changes what a job does. Three rules follow:
//!
//! - a key of the wrong type counts as absent: only a payload that Laravel itself could not run is [`Broken`];
//! - numbers may be integers, floats or numeric strings, and `[]` may stand for `{}`, because Redis' Lua re-encodes a
//!   payload at each attempt;
//! - nothing is re-serialised, and the only large value that is copied is a serialised command that contains a
//!   wanted property name, to be unescaped.
//!
//! Pure: no clock, no I/O. Nothing here recurses over a payload's nesting.

mod envelope;
mod hints;
mod limit;
mod php;
mod scalar;
mod value;

pub use envelope::{Broken, Envelope, MAX_DEPTH, MAX_NAME, MAX_TAG, MAX_TAGS, OwnDelay, is_class_name, is_pointer};
pub use hints::Hints;
pub use limit::LimitHint;
pub use php::{Scalar, properties};
pub(crate) use scalar::bounded;
pub use value::{hash, value_of};
