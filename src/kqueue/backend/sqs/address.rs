//! URLs of queues, as Laravel builds them from names, and their servers. Pure.

use super::settings::SqsSettings;
use crate::backend::BackendError;

/// Longest name of a queue, in characters.
const LONGEST: usize = 80;
/// Suffix of the name of a FIFO queue.
const FIFO: &str = ".fifo";

/// The URL of a queue.
pub(super) fn url(settings: &SqsSettings, queue: &str) -> String {
    if let Some(url) = settings.names.exact(queue) {
        return url.to_owned();
    }
    if is_url(queue) {
        return queue.to_owned();
    }
    let (name, fifo) = queue.strip_suffix(FIFO).map_or((queue, ""), |name| (name, FIFO));
    // A suffix that the name already has, even repeatedly, is not added again.
    let mut bare = name;
    while !settings.suffix.is_empty()
        && let Some(shorter) = bare.strip_suffix(&settings.suffix)
    {
        bare = shorter;
    }
    format!("{}/{bare}{}{fifo}", settings.prefix.trim_end_matches('/'), settings.suffix)
}

/// Whether the queue keeps the order of each of its message groups.
pub(super) fn is_fifo(url: &str) -> bool {
    url.ends_with(FIFO)
}

/// The server of a queue: that of its URL, as in Laravel's SDK, or else the endpoint.
pub(super) fn server<'a>(settings: &'a SqsSettings, url: &'a str) -> &'a str {
    origin(url).unwrap_or(&settings.endpoint)
}

/// Refuses names that SQS does not allow.
pub(super) fn check(queues: &[String]) -> Result<(), BackendError> {
    let is_taken = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    for queue in queues.iter().filter(|queue| !is_url(queue)) {
        let name = queue.strip_suffix(FIFO).unwrap_or(queue);
        if name.is_empty() || queue.len() > LONGEST || !name.chars().all(is_taken) {
            return Err(BackendError::Settings(format!(
                "queue `{queue}`: an SQS queue name has 1 to {LONGEST} letters, digits, `-` and `_`, and may end in \
                 `{FIFO}`; rename it, or give its whole URL"
            )));
        }
    }
    Ok(())
}

fn is_url(queue: &str) -> bool {
    origin(queue).is_some()
}

/// Scheme, host and port.
fn origin(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https"))?;
    let host = rest.split(['/', '?']).next().filter(|host| !host.is_empty())?;
    url.get(..scheme.len() + 3 + host.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(prefix: &str, suffix: &str) -> SqsSettings {
        let (prefix, suffix) = (prefix.to_owned(), suffix.to_owned());
        SqsSettings { prefix, suffix, endpoint: "https://sqs.eu-west-1.amazonaws.com".to_owned(), ..Default::default() }
    }

    #[test]
    fn names_become_urls_as_under_laravel() {
        let plain = settings("https://sqs.eu-west-1.amazonaws.com/1234/", "");
        assert_eq!(url(&plain, "mail"), "https://sqs.eu-west-1.amazonaws.com/1234/mail");
        assert_eq!(url(&plain, "mail.fifo"), "https://sqs.eu-west-1.amazonaws.com/1234/mail.fifo");
        let staging = settings("https://a/1", "-staging");
        for (name, expected) in [
            ("mail", "https://a/1/mail-staging"),
            ("mail-staging", "https://a/1/mail-staging"),
            ("mail-staging-staging", "https://a/1/mail-staging"),
            ("mail.fifo", "https://a/1/mail-staging.fifo"),
            ("mail-staging.fifo", "https://a/1/mail-staging.fifo"),
            ("https://b/2/other", "https://b/2/other"),
        ] {
            assert_eq!(url(&staging, name), expected);
        }
        assert!(is_fifo(&url(&staging, "mail.fifo")) && !is_fifo(&url(&staging, "mail")));
    }

    #[test]
    fn requests_go_where_the_url_says() {
        let plain = settings("", "");
        assert_eq!(server(&plain, "http://localhost:9324/queue/mail"), "http://localhost:9324");
        assert_eq!(server(&plain, "https://sqs.us-east-1.amazonaws.com/1/x"), "https://sqs.us-east-1.amazonaws.com");
        assert_eq!(server(&plain, "/mail"), "https://sqs.eu-west-1.amazonaws.com");
    }

    #[test]
    fn names_are_what_sqs_takes() {
        let check = |name: &str| super::check(&[name.to_owned()]);
        let longest = "x".repeat(80);
        for good in ["default", "a_b-C9", "mail.fifo", "https://sqs.eu-west-1.amazonaws.com/1/x", &longest] {
            assert!(check(good).is_ok(), "{good}");
        }
        let longer = "x".repeat(81);
        for bad in ["", ".fifo", "a:b", "a.b", "a b", "ü", "://x", &longer] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
