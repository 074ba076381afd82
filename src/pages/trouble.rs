//! The error page.

use maud::html;

use crate::format::text;
use crate::{Mount, frame};

/// An error page: `title` is a fixed text, `why` may be untrusted.
pub fn trouble(mount: &Mount, title: &str, why: &str) -> String {
    let body = html! {
        section.card.trouble aria-labelledby="trouble" {
            h1 #trouble { (title) }
            @if !why.is_empty() { p { (text(why)) } }
            p { a.button href=(mount.root("")) { @if mount.is_host() { "All apps" } @else { "Overview" } } }
        }
    };
    frame::bare(mount, title, &body).into_string()
}
