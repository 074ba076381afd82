//! Checks that the tables and the weights of the config file are of classes and queues that there are. Pure.

use super::finding::Finding;
use crate::survey::Found;
use kqueue_config::{Settings, TABLES};

/// `queues`: those that are worked; empty where they are not known.
pub(super) fn judge(settings: &Settings, queues: &[String], found: &Found) -> Vec<Finding> {
    let head = |kind: &str, name: &str| {
        let table = TABLES.iter().find(|table| table.name == kind);
        table.map_or_else(|| name.to_owned(), |table| table.head(name))
    };
    let classes = found.unknown.iter().map(|class| {
        let fix = match class.contains('/') {
            true => format!("write {}", head("class", &class.replace('/', "\\"))),
            false => "correct the name; `kqueue stats` lists the classes that have run".to_owned(),
        };
        Finding::warning("table", format!("{} has no effect: the app has no such class", head("class", class)), fix)
    });
    let is_worked = |queue: &String| queues.is_empty() || queues.contains(queue);
    let tables = settings.tables.queue.keys().map(|queue| (queue, head("queue", queue)));
    let weights = settings.weights.iter().map(|(queue, weight)| (queue, format!("weights: {queue}:{weight}")));
    let unworked = tables.chain(weights).filter(|(queue, _)| !is_worked(queue)).map(|(_, what)| {
        let what = format!("{what} has no effect: the queue is not processed");
        Finding::warning("table", what, format!("correct the name, or add it to queues ({})", queues.join(", ")))
    });
    classes.chain(unworked).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kqueue_config::{Surroundings, load_text};

    #[test]
    fn a_table_of_nothing_is_told() {
        let dir = tempfile::Builder::new().prefix("kq").tempdir().unwrap();
        std::fs::write(dir.path().join("artisan"), "").unwrap();
        let tables = "[queue.mail]\nweight = 2\n[queue.mial]\nweight = 2\n";
        let text = format!("path = {:?}\nphp = \"/bin/sh\"\nweights = \"hihg:5\"\n{tables}", dir.path());
        let here = Surroundings::read().unwrap();
        let settings = load_text("shop", &dir.path().join("shop.toml"), &text, &here).unwrap().settings;
        let found = Found { unknown: vec!["App/Jobs/Import".to_owned(), "App\\Imp".to_owned()], ..Found::default() };
        let told = |queues: &[String]| {
            let findings = judge(&settings, queues, &found).into_iter();
            findings.map(|finding| format!("{}; {}", finding.what, finding.fix)).collect::<Vec<_>>()
        };
        assert_eq!(
            told(&["mail".to_owned()]),
            [
                "[class.\"App/Jobs/Import\"] has no effect: the app has no such class; write [class.\"App\\\\Jobs\\\\Import\"]",
                "[class.\"App\\\\Imp\"] has no effect: the app has no such class; correct the name; `kqueue stats` lists the classes that have run",
                "[queue.mial] has no effect: the queue is not processed; correct the name, or add it to queues (mail)",
                "weights: hihg:5 has no effect: the queue is not processed; correct the name, or add it to queues (mail)",
            ]
        );
        assert_eq!(told(&[]).len(), 2);
    }
}
