//! Tables of classes, queues and alerts.

use std::time::Duration;

use super::*;

const LIMITS: &str = r#"
[class."App\\Jobs\\Import"]
max_concurrent = 2
rate = "30/m"
burst = 5
by = "tenant_id"
priority = -5
timeout = 600
[class.'\App\Jobs\Report']
rate = "1 / h"
[queue.mail]
max_concurrent = 10
max_waiting = 20
timeout = 0
alert_wait = "10min"
[alerts]
failure_rate = "20/m"
mail = "root"
"#;

#[test]
fn read_shown_and_read_back() {
    let world = World::new();
    let loaded = world.shop(&format!("{PATH}{LIMITS}"), &[]).unwrap();
    let tables = &loaded.settings.tables;
    let import = &tables.class["App\\Jobs\\Import"];
    assert_eq!((import.max_concurrent, import.burst, import.priority), (Some(2), Some(5), Some(-5)));
    assert_eq!(import.rate, Some(Rate { jobs: 30, per: Duration::from_secs(60) }));
    assert_eq!(tables.class["App\\Jobs\\Report"].rate, Some(Rate { jobs: 1, per: Duration::from_secs(3600) }));
    assert_eq!((tables.queue["mail"].max_concurrent, tables.queue["mail"].max_waiting), (Some(10), Some(20)));
    let timeout = |class, queue| loaded.settings.timeout_of(class, queue);
    assert_eq!(timeout("App\\Jobs\\Import", "mail"), 600);
    assert_eq!((timeout("Other", "mail"), timeout("Other", "other")), (0, 60));
    assert_eq!(tables.longest(Some(Duration::from_secs(60))), None);
    let mut shown = PATH.to_owned();
    for table in TABLES {
        for (name, bounds) in table.read(tables) {
            shown += &format!("{}\n", table.head(name));
            for key in table.keys {
                if let Some(value) = key.show(bounds) {
                    shown += &format!("{} = {value}\n", key.name);
                }
            }
        }
    }
    assert_eq!(world.shop(&shown, &[]).unwrap().settings, loaded.settings, "{shown}");
    let (table, key) = (&TABLES[0], TABLES[0].keys[1]);
    let origin = loaded.origin_in(table, "App\\Jobs\\Import", key).unwrap().to_string();
    assert_eq!(origin, "line 5");
}

/// The example of every key is accepted.
#[test]
fn the_example_is_a_valid_file() {
    let world = World::new();
    let example = Settings::example();
    let (_, tables) = example.split_once("#[class.").unwrap();
    let lines = format!("#[class.{tables}");
    let bare: String = lines
        .lines()
        .map(|line| line.trim_start_matches('#'))
        .filter(|line| !line.starts_with(' '))
        .map(|line| format!("{line}\n"))
        .collect();
    let settings = world.shop(&format!("{PATH}{bare}"), &[]).unwrap().settings;
    assert_eq!((settings.tables.class.len(), settings.tables.queue.len()), (1, 1));
    let (of_class, of_queue) = (&settings.tables.class["App\\Jobs\\Import"], &settings.tables.queue["mail"]);
    let of_alerts = &settings.tables.alerts[""];
    for (table, bounds) in TABLES.iter().zip([of_class, of_queue, of_alerts]) {
        assert!(table.keys.iter().all(|key| key.show(bounds).is_some()), "{bare}");
    }
}

#[test]
fn what_a_reload_brings() {
    let world = World::new();
    let old = world.shop(PATH, &[]).unwrap().settings;
    let new = world.shop(&format!("{PATH}{LIMITS}"), &[]).unwrap().settings;
    let (taken, held) = old.reloaded(&new);
    assert_eq!((&taken.tables, held.len()), (&new.tables, 0));
    let lines = differences(&old.tables, &new.tables);
    assert_eq!(lines[0], "[class.\"App\\\\Jobs\\\\Import\"] max_concurrent = 2");
    assert_eq!(lines.len(), 13);
    assert_eq!(lines[12], "[alerts] mail = [\"root\"]");
    assert_eq!(differences(&new.tables, &old.tables)[8], "[queue.mail] max_waiting removed");
    assert!(differences(&new.tables, &new.tables).is_empty());
}

/// The file after its first line, `path`, and the error from its line number on.
#[test]
fn what_is_wrong_has_one_line() {
    let world = World::new();
    let cases: &[(&str, &str)] = &[
        (
            "[class.A]\nmax_concurrent = 0",
            "3: max_concurrent: expected a whole number from 1 to 10000, got 0; e.g. max_concurrent = 2",
        ),
        (
            "[class.A]\nrate = 30",
            "3: rate: expected a number per second, minute or hour (a string such as \"5/s\", \"30/m\", \"1000/h\"), got 30; e.g. rate = \"30/m\"",
        ),
        (
            "[queue.a]\nrate = \"0/m\"",
            "3: rate: expected a number per second, minute or hour (a string such as \"5/s\", \"30/m\", \"1000/h\"), got \"0/m\"; e.g. rate = \"30/m\"",
        ),
        (
            "[queue.a]\nburst = 5",
            "3: burst: has no effect without a rate; add rate = \"30/m\" to [queue.a], or leave it out",
        ),
        (
            "[class.A]\nmax_waiting = 5",
            "3: unknown key \"max_waiting\"; a class table takes max_concurrent, rate, burst, by, shared, priority, tier, memory_max, timeout",
        ),
        (
            "[alerts]\nwait = \"soon\"",
            "3: wait: expected a duration of at least 1000 ms, at most a year (seconds, or a string such as \"500ms\", \"2h 30min\"), got \"soon\"; e.g. wait = \"60s\"",
        ),
        (
            "[alerts]\nwait = 60\nmail = \"ops@a.example\\nBcc: x@b.example\"",
            "4: mail: expected 1 to 20 mail addresses (such as [\"ops@shop.example\"]), got \"ops@a.example\\nBcc: x@b.example\"; e.g. mail = [\"ops@shop.example\"]",
        ),
        (
            "[alerts]\nwait = 60\nwebhook = \"ftp://a.example\"",
            "4: webhook: expected an http or https URL without user, password and fragment (a string such as \"https://alerts.example/kqueue\"), got \"ftp://a.example\"; e.g. webhook = \"https://alerts.example/kqueue\"",
        ),
        (
            "[alerts]\nmail = [\"ops@shop.example\"]",
            "3: mail: has no effect without an alert condition; add wait = \"60s\" to [alerts], or leave it out",
        ),
        (
            "[alerts]\nwait = 60\nwebhook_secret = \"hook\"",
            "4: webhook_secret: has no effect without a webhook; add webhook = \"https://alerts.example/kqueue\" to [alerts], or leave it out",
        ),
        (
            "[alerts]\ncommand = \"page\"",
            "3: command: expected the absolute path of a program, and its arguments (a list such as [\"/usr/local/bin/page\", \"--team\", \"shop\"]), got \"page\"; e.g. command = [\"/usr/local/bin/page\", \"--team\", \"shop\"]",
        ),
        (
            "[alerts.mail]\nwait = 5",
            "2: mail: expected 1 to 20 mail addresses (such as [\"ops@shop.example\"]), got a table; e.g. mail = [\"ops@shop.example\"]",
        ),
        (
            "[class.App.Jobs]\nrate = \"1/s\"",
            "2: unknown key \"Jobs\"; put a name with dots or backslashes in quotes: [class.\"App\\\\Jobs\\\\Import\"]",
        ),
        ("[queue]\nmail = 5", "3: queue: expected a table for each queue, got 5; e.g. [queue.mail]"),
        (
            "class = 5",
            "2: unknown key \"class\"; settings of a class go into a table of their own: [class.\"App\\\\Jobs\\\\Import\"]",
        ),
    ];
    for (text, error) in cases {
        let line = world.line(world.shop(&format!("{PATH}{text}\n"), &[]));
        assert_eq!(line, format!("$/etc/shop.toml:{error}"), "{text}");
    }
}

#[test]
fn weights_are_of_one_place_and_of_queues_that_are_processed() {
    let world = World::new();
    let shop = |text: &str| world.shop(&format!("{PATH}{text}"), &[]);
    let settings = shop("weights = \"high:5, a:b:2,low : 1\"\n[queue.mail]\nweight = 7\n").unwrap().settings;
    let weights: Vec<_> = settings.queue_weights().into_iter().collect();
    let expected = [("a:b", 2), ("high", 5), ("low", 1), ("mail", 7)].map(|(queue, weight)| (queue.to_owned(), weight));
    assert_eq!(weights, expected);
    for (text, error) in [
        (
            "weights = \"high\"",
            "2: weights: expected queues with their weights from 1 to 1000 (such as \"high:5, default:2, low:1\"), got \"high\"",
        ),
        ("weights = \"high:0\"", "2: weights: expected queues with their weights"),
        ("weights = \"a:1, a:2\"", "2: weights: expected queues with their weights"),
        (
            "weights = \"mail:2\"\n[queue.mail]\nweight = 7",
            "2: weights: queue mail has a weight here and one in its table; leave mail out here, or weight out of its table",
        ),
        (
            "weights = \"hihg:2\"\nqueues = [\"high\"]",
            "2: weights: queue hihg is not one of queues; add hihg to queues, or leave it out here",
        ),
    ] {
        let found = shop(text).unwrap_err().to_string();
        assert!(found.contains(error), "{found}");
    }
}
