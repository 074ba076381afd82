//! A page of the dashboard, made by a runtime for the door in its app. Touches nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A page, or a file that pages load.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PageAnswer {
    /// The version of this form.
    pub version: u32,
    /// The status, as in HTTP.
    pub status: u16,
    /// The type of the body, as in HTTP.
    #[serde(rename = "type")]
    pub kind: String,
    /// Further headers, which whoever sends the page has to send with it.
    pub headers: BTreeMap<String, String>,
    /// The page.
    pub body: String,
}
