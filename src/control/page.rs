//! A page of the dashboard, made by a runtime for its app's own route. Pure data.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A page, or a file that pages load.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PageAnswer {
    /// The version of this format.
    pub version: u32,
    /// The HTTP status.
    pub status: u16,
    /// The media type of the body.
    #[serde(rename = "type")]
    pub kind: String,
    /// Further HTTP headers, which must be sent with the page.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: String,
}
