//! The files that pages load: one stylesheet, one script, one icon. Their names contain a hash of their contents, so
//! that they can be cached forever.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::OnceLock;

/// A file.
#[derive(Debug)]
pub struct File {
    /// Its name, with a hash: `kqueue-0123456789abcdef.css`.
    pub name: String,
    /// Its media type.
    pub kind: &'static str,
    /// Its contents.
    pub text: &'static str,
}

/// Its `cache-control` header: it can be cached forever, as its name changes with its contents.
pub const CACHE: &str = "public, max-age=31536000, immutable";

fn files() -> &'static [File; 3] {
    static FILES: OnceLock<[File; 3]> = OnceLock::new();
    let file = |end, kind, text: &'static str| {
        let mut hash = DefaultHasher::new();
        text.hash(&mut hash);
        File { name: format!("kqueue-{:016x}.{end}", hash.finish()), kind, text }
    };
    FILES.get_or_init(|| {
        [
            file("css", "text/css; charset=utf-8", include_str!("static/style.css")),
            file("js", "text/javascript; charset=utf-8", include_str!("static/live.js")),
            file("svg", "image/svg+xml", include_str!("static/icon.svg")),
        ]
    })
}

/// The stylesheet.
pub fn style() -> &'static str {
    &files()[0].name
}

/// The script.
pub fn script() -> &'static str {
    &files()[1].name
}

/// The icon.
pub fn icon() -> &'static str {
    &files()[2].name
}

/// The file of this name.
pub fn find(name: &str) -> Option<&'static File> {
    files().iter().find(|file| file.name == name)
}
