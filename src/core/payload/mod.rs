//! What a queued message says about itself, read from bytes that are never changed.
//!
//! A payload is Laravel's, and it travels as opaque bytes. This module reads the few fields that a
//! runtime may rely on, as hints for placement and for limits; nothing read here decides what a job
//! means. Three rules follow:
//!
//! - a key of the wrong type is as good as absent: only what Laravel itself could not run is [`Broken`];
//! - numbers may be integers, floats or numeric strings, and `[]` may stand for `{}`, because Redis' Lua
//!   re-encodes a payload at each attempt;
//! - nothing is re-serialised, and no large value is copied but one: a serialised command that names a
//!   property we want, while its escapes are undone.
//!
//! Pure: no clock, no I/O. Nothing here recurses on the call stack over a payload's nesting.

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
