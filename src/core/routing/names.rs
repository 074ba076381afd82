//! The hint from a class name: the weakest rule, adopted from the analyzer of the PHP KQueue.
//!
//! The original applied a regular expression to the whole name, namespace included, so
//! `App\ProcessOrders\MailVideoLink` was heavy and `LoginEvent` was light. Here only the short name counts, split into
//! words: one word equals the first of a pair, and a later word begins with the second (`Videos`, `Reporting`).

/// Pairs that suggest much work.
const HEAVY: [NameHint; 7] = [
    NameHint("Process", "Video"),
    NameHint("Generate", "Report"),
    NameHint("Export", "Large"),
    NameHint("Compress", "Archive"),
    NameHint("Backup", "Database"),
    NameHint("Import", "Bulk"),
    NameHint("Migrate", "Data"),
];

/// Pairs that suggest little work.
const LIGHT: [NameHint; 6] = [
    NameHint("Send", "Email"),
    NameHint("Send", "Notification"),
    NameHint("Update", "Cache"),
    NameHint("Log", "Event"),
    NameHint("Dispatch", "Event"),
    NameHint("Trigger", "Webhook"),
];

/// A pair of words that a class name contains in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameHint(
    /// The first word.
    pub &'static str,
    /// The prefix of a later word.
    pub &'static str,
);

impl NameHint {
    /// True for a pair that suggests much work, false for one that suggests little.
    pub fn is_heavy(&self) -> bool {
        HEAVY.contains(self)
    }

    fn is_in(&self, name: &str) -> bool {
        let mut words = words(name);
        words.any(|word| word.eq_ignore_ascii_case(self.0))
            && words.any(|word| word.get(..self.1.len()).is_some_and(|start| start.eq_ignore_ascii_case(self.1)))
    }
}

/// The pair that `class` contains; heavy pairs take precedence. Only for PHP class names (a trailing `@method` is
/// ignored): the name of a closure contains a file name, which means nothing.
pub fn name_hint(class: &str) -> Option<NameHint> {
    let class = class.split_once('@').map_or(class, |(class, _)| class);
    let name = class.rsplit_once('\\').map_or(class, |(_, name)| name);
    let is_class = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
    if !name.bytes().all(is_class) {
        return None;
    }
    HEAVY.iter().chain(&LIGHT).find(|hint| hint.is_in(name)).copied()
}

/// The words of `SendHTMLEmail_now`: `Send`, `HTML`, `Email`, `now`.
fn words(name: &str) -> impl Iterator<Item = &str> {
    let mut rest = name;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches('_');
        let bytes = rest.as_bytes();
        let starts_word = |at: usize| {
            let upper = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_uppercase);
            // A capital after a non-capital, or the last of several capitals if a lowercase letter follows.
            bytes.get(at) == Some(&b'_')
                || upper(at) && (!upper(at - 1) || bytes.get(at + 1).is_some_and(u8::is_ascii_lowercase))
        };
        let end = (1..bytes.len()).find(|at| starts_word(*at)).unwrap_or(bytes.len());
        let (word, left) = rest.split_at(end);
        rest = left;
        (!word.is_empty()).then_some(word)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_split_into_words() {
        for (name, expected) in [
            ("SendHTMLEmail_now", &["Send", "HTML", "Email", "now"][..]),
            ("sendEmail", &["send", "Email"]),
            ("__process_video", &["process", "video"]),
            ("ÜberJob", &["Über", "Job"]),
            ("X", &["X"]),
            ("ABC", &["ABC"]),
            ("", &[]),
            ("_", &[]),
        ] {
            assert_eq!(words(name).collect::<Vec<_>>(), expected, "{name}");
        }
    }

    #[test]
    fn only_the_short_name_counts() {
        for (class, expected) in [
            ("App\\Jobs\\ProcessVideo", Some(("Process", true))),
            ("ProcessUploadedVideos", Some(("Process", true))),
            ("App\\Jobs\\GenerateSalesReportJob", Some(("Generate", true))),
            ("App\\Jobs\\export_large_table", Some(("Export", true))),
            ("App\\Jobs\\CompressArchive", Some(("Compress", true))),
            ("App\\Jobs\\BackupTheDatabase", Some(("Backup", true))),
            ("App\\Jobs\\ImportBulk", Some(("Import", true))),
            ("App\\Jobs\\MigrateData", Some(("Migrate", true))),
            ("App\\Jobs\\SendWelcomeEmail", Some(("Send", false))),
            ("App\\Jobs\\SendNotification", Some(("Send", false))),
            ("App\\Handlers\\UpdateCache@fire", Some(("Update", false))),
            ("App\\Jobs\\LogEvent", Some(("Log", false))),
            ("App\\Jobs\\DispatchEvents", Some(("Dispatch", false))),
            ("App\\Jobs\\TriggerWebhook", Some(("Trigger", false))),
            // Heavy pairs take precedence.
            ("SendEmailAndProcessVideo", Some(("Process", true))),
            ("App\\ProcessVideo\\Notify", None),
            ("App\\Jobs\\VideoProcess", None),
            ("App\\Jobs\\LoginEvent", None),
            ("App\\Jobs\\CatalogEvent", None),
            ("App\\Jobs\\ResendEmail", None),
            ("Closure (ProcessVideo.php:8)", None),
            ("process:video", None),
            ("", None),
        ] {
            let hint = name_hint(class);
            assert_eq!(hint.map(|hint| (hint.0, hint.is_heavy())), expected, "{class}");
        }
    }

    proptest! {
        #[test]
        fn any_name_is_only_split(name in "\\PC{0,40}") {
            let joined: String = words(&name).collect();
            prop_assert_eq!(joined, name.replace('_', ""));
            name_hint(&name);
        }
    }
}
