//! Checks the app's queue connections: native pop, missing indexes, and other connections. Pure.

use super::finding::Finding;
use crate::survey::Found;
use kqueue_config::Settings;

/// Maximum other connections named.
const MOST: usize = 5;
/// Maximum characters of an app's name.
const LONGEST_NAME: usize = 32;

pub(super) fn judge(settings: &Settings, found: &Found, findings: &mut Vec<Finding>) {
    let connection = found.connection.as_deref().unwrap_or_default();
    if found.native {
        native(settings, connection, found, findings);
    }
    if let Some(Index { migration, why }) = index(found) {
        findings.push(Finding::note(
            "indexes",
            why,
            format!("a migration (php artisan make:migration) with {migration}"),
        ));
    }
    for Other { name, place, instance } in others(&settings.app, found) {
        findings.push(Finding::note(
            "connections",
            format!(
                "the app also uses the queue connection {name} ({place}), whose queues this instance does not work"
            ),
            format!(
                "unless something else works them: kqueue init {instance} --path {} --connection {name}",
                shell_words::quote(&settings.path.to_string_lossy())
            ),
        ));
    }
}

/// An index that the queue's table lacks.
pub(in crate::cli) struct Index {
    /// The line of a migration that creates it.
    pub migration: String,
    pub why: String,
}

/// The index that the table lacks, if any.
pub(in crate::cli) fn index(found: &Found) -> Option<Index> {
    let table = found.unindexed.as_ref().filter(|table| is_name(table))?;
    Some(Index {
        migration: format!(
            "Schema::table('{table}', fn ($table) => $table->index(['queue', 'reserved_at', 'available_at']));"
        ),
        why: format!(
            "table {table} is long, and Laravel's own index covers only the column queue: with many delayed jobs, each \
             search for a due job scans all of them"
        ),
    })
}

/// A connection beside the one worked here, and the name for an instance of kqueue for it.
pub(in crate::cli) struct Other<'a> {
    pub name: &'a str,
    pub place: &'a str,
    pub instance: String,
}

/// The other connections that are reported, as far as their names are safe to repeat.
pub(in crate::cli) fn others<'a>(app: &str, found: &'a Found) -> impl Iterator<Item = Other<'a>> {
    found.others.iter().filter(|(name, _)| is_name(name)).take(MOST).map(move |(name, place)| {
        let instance = format!("{app}_{}", name.to_ascii_lowercase().replace(['-', '.'], "_"));
        Other { name, place, instance: instance.chars().take(LONGEST_NAME).collect() }
    })
}

fn native(settings: &Settings, connection: &str, found: &Found, findings: &mut Vec<Finding>) {
    let driver = found.driver.as_deref().unwrap_or_default();
    let fix = match found.members.first().filter(|member| is_name(member)) {
        Some(first) => format!("connection = \"{first}\", which failover pops from, if kqueue can reserve from it"),
        None => "none needed; native-pop.md in /usr/share/doc/kqueue describes each driver".to_owned(),
    };
    findings.push(Finding::note(
        "native-pop",
        format!(
            "connection {connection} ({driver}): pooled workers pop jobs themselves, as `queue:work` does; {}",
            after_death(driver)
        ),
        fix,
    ));
    let longest = settings.tables.longest(settings.timeout);
    let needed = longest.map(|timeout| timeout + settings.timeout_grace);
    if let Some(retry_after) = found.retry_after
        && needed.is_none_or(|needed| needed.as_secs_f64() >= retry_after as f64)
    {
        let may = longest.map_or("without limit".to_owned(), |timeout| format!("{} s", timeout.as_secs_f64()));
        let above = needed.map_or("the longest job's time".to_owned(), |needed| format!("{}", needed.as_secs() + 1));
        findings.push(Finding::warning(
            "retry-after",
            format!("a job may run {may}, and retry_after of connection {connection} is {retry_after} s: a longer job runs twice, as under `queue:work`"),
            format!("retry_after = {above} or more in config/queue.php, or a shorter timeout"),
        ));
    }
}

/// What happens to a job whose process dies: with native pop the runtime does not hold it.
fn after_death(driver: &str) -> &'static str {
    match driver {
        "beanstalkd" | "rabbitmq" => "a job whose process dies returns to its queue at once, with its attempt counted",
        _ => "a job whose process dies returns by the driver's own rule, with its attempt counted",
    }
}

/// Whether it can be the name of a connection, with no characters special to a shell.
fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.len() <= 40 && name.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kqueue_config::{Surroundings, load_text};

    fn told(lines: &str, found: &Found) -> Vec<String> {
        let dir = tempfile::Builder::new().prefix("kq").tempdir().unwrap();
        std::fs::write(dir.path().join("artisan"), "").unwrap();
        let text = format!("path = {:?}\nphp = \"/bin/sh\"\n{lines}", dir.path());
        let here = Surroundings::read().unwrap();
        let settings = load_text("shop", &dir.path().join("shop.toml"), &text, &here).unwrap().settings;
        let mut findings = Vec::new();
        judge(&settings, found, &mut findings);
        findings.iter().map(|found| format!("{} {}; {}", found.severity.word(), found.what, found.fix)).collect()
    }

    #[test]
    fn what_native_pop_cannot_do_is_said_once() {
        let text = |text: &str| Some(text.to_owned());
        let beanstalkd = Found {
            native: true,
            connection: text("beans"),
            driver: text("beanstalkd"),
            retry_after: Some(90),
            ..Found::default()
        };
        let one = told("", &beanstalkd);
        assert!(
            one.len() == 1 && one[0].starts_with("note connection beans (beanstalkd): pooled workers pop"),
            "{one:?}"
        );
        assert!(one[0].contains("returns to its queue at once"));
        let late = told("timeout = 90", &beanstalkd);
        assert!(
            late[1].starts_with("warning a job may run 90 s, and retry_after of connection beans is 90 s"),
            "{late:?}"
        );
        let members = vec!["redis".to_owned(), "sqs".to_owned()];
        let failover = Found { driver: text("failover"), retry_after: None, members, ..beanstalkd };
        assert!(told("", &failover)[0].contains("connection = \"redis\""));
    }

    #[test]
    fn a_long_table_wants_an_index() {
        let of = |table: &str| told("", &Found { unindexed: Some(table.to_owned()), ..Found::default() });
        let said = of("jobs");
        assert!(said.len() == 1 && said[0].starts_with("note table jobs is long, and Laravel's own index"), "{said:?}");
        assert!(said[0].ends_with(
            "Schema::table('jobs', fn ($table) => $table->index(['queue', 'reserved_at', 'available_at']));"
        ));
        assert!(of("jobs'); die('").is_empty());
    }

    #[test]
    fn other_connections_want_an_instance_each() {
        let others = [("SQS-eu", "app/Jobs/Report.php"), ("a; rm -rf /", "x")];
        let others = others.map(|(name, place)| (name.to_owned(), place.to_owned())).into();
        let found = told("", &Found { others, ..Found::default() });
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("also uses the queue connection SQS-eu (app/Jobs/Report.php)"), "{found:?}");
        assert!(
            found[0].contains("kqueue init shop_sqs_eu --path /") && found[0].ends_with("--connection SQS-eu"),
            "{found:?}"
        );
    }
}
