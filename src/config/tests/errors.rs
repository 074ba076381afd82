//! Refused settings, and the error lines.

use std::fs;
use std::time::Duration;

use super::*;

/// The file after its first line, `path`, and the error.
#[test]
fn errors_of_the_file() {
    let world = World::new();
    let cases: &[(&str, &str)] = &[
        ("pool_sise = 4", "unknown key \"pool_sise\"; did you mean \"pool_size\"?"),
        ("pool-size = 4", "unknown key \"pool-size\"; did you mean \"pool_size\"?"),
        ("memory = 4", "unknown key \"memory\"; did you mean \"worker_memory\"?"),
        ("queue = 'a'", "unknown key \"queue\"; did you mean \"queues\"?"),
        ("colour = 4", "unknown key \"colour\"; `kqueue config example` lists the keys"),
        (
            "[tiers]\npool_size = 4",
            "unknown key \"tiers\"; the only tables are [class.NAME], [queue.NAME] and [alerts]; write other keys above all tables",
        ),
        ("pool_size = \"4\"", "pool_size: expected a whole number from 1 to 1000, got \"4\"; e.g. pool_size = 10"),
        ("pool_size = 0", "pool_size: expected a whole number from 1 to 1000, got 0; e.g. pool_size = 10"),
        ("pool_size = -1", "pool_size: expected a whole number from 1 to 1000, got -1; e.g. pool_size = 10"),
        ("pool_size = 1.5", "pool_size: expected a whole number from 1 to 1000, got 1.5; e.g. pool_size = 10"),
        ("tries = 99999999999", "tries: expected a whole number, 0 or more, got 99999999999; e.g. tries = 1"),
        (
            "tries = 99999999999999999999",
            "tries: expected a whole number, 0 or more, got a number that is too large; e.g. tries = 1",
        ),
        ("crash = \"replya\"", "crash: expected \"replay\" or \"laravel\", got \"replya\"; e.g. crash = \"replay\""),
        ("renew = \"yes\"", "renew: expected true or false, got \"yes\"; e.g. renew = true"),
        (
            "connection = \"\"",
            "connection: is empty; leave it out for the default, or give a name (a string that is not empty): connection = \"redis\"",
        ),
        (
            "timeout = 1.5",
            "timeout: expected whole seconds, at most a year, or 0 for no limit (a number, or a string such \
             as \"5min\"), got 1.5; e.g. timeout = \"60s\"",
        ),
        (
            "stop_timeout = \"10 years\"",
            "stop_timeout: expected a duration, at most a year (seconds, or a string such as \"500ms\", \
             \"2h 30min\"), got \"10 years\"; e.g. stop_timeout = \"60s\"",
        ),
        (
            "idle_after = \"50ms\"",
            "idle_after: expected \"never\", or a duration of at least 100 ms, at most a year (seconds, or a string such \
             as \"500ms\", \"2h 30min\"), got \"50ms\"; e.g. idle_after = \"10min\"",
        ),
        (
            "worker_memory = \"1.5G\"",
            "worker_memory: expected whole MB, 16 or more (a number, or a string such as \"64M\", \"1G\"), got \
             \"1.5G\"; e.g. worker_memory = 128",
        ),
        (
            "pool_min_idle = 8\npool_size = 4",
            "pool_min_idle: 8 is above pool_size (4); lower pool_min_idle or raise pool_size",
        ),
        (
            "pool_size = 8\npool_max_size = 4",
            "pool_size: 8 is above pool_max_size (4); lower pool_size or raise pool_max_size",
        ),
        (
            "inline_max_duration = 40\npooled_max_duration = 30",
            "inline_max_duration: 40s is above pooled_max_duration (30s); lower inline_max_duration or raise \
             pooled_max_duration",
        ),
        (
            "worker_memory = 600\nworker_memory_max = 512",
            "worker_memory: 600 is above worker_memory_max (512); lower worker_memory or raise worker_memory_max",
        ),
        (
            "php = \"phpp\"",
            "php: phpp is not in PATH; install PHP's command line (php-cli), or set its path: php = \"/usr/bin/php\"",
        ),
        (
            "php = \"text\"",
            "php: text is not in PATH; install PHP's command line (php-cli), or set its path: php = \"/usr/bin/php\"",
        ),
        (
            "php = \"../no/php\"",
            "php: $/no/php does not exist; install PHP's command line (php-cli), or set its path: php = \"/usr/bin/php\"",
        ),
        (
            "php = \"$/bin/text\"",
            "php: $/bin/text cannot be executed; install PHP's command line (php-cli), or set its path: php = \"/usr/bin/php\"",
        ),
    ];
    for (text, error) in cases {
        let line = world.line(world.shop(&format!("{PATH}{text}\n"), &[]));
        assert_eq!(line, format!("$/etc/shop.toml:2: {error}"), "{text}");
    }
    // Of two errors the first in the file is reported, whatever the names.
    let line = world.line(world.shop("zzz = 1\naaa = 1\n", &[]));
    assert!(line.starts_with("$/etc/shop.toml:1: unknown key \"zzz\""), "{line}");
}

#[test]
fn errors_of_the_syntax() {
    let world = World::new();
    for (text, at) in [("path = /srv/shop\n", 1), ("\n\npool_size 4\n", 3), ("queues = [\"a\"", 1), ("php = \"x\n", 1)]
    {
        let line = world.line(world.shop(text, &[]));
        assert!(line.starts_with(&format!("$/etc/shop.toml:{at}: not valid TOML: ")), "{text:?}: {line}");
    }
    for text in ["tries = 1\n\ntries = 2\n", "\"tries\" = 1\n\n tries = 2\n"] {
        let line = world.line(world.shop(text, &[]));
        assert_eq!(line, "$/etc/shop.toml:3: tries: is set a second time; the first is in line 1: keep one of them");
    }
    fs::write(world.at("etc/shop.toml"), b"tries = 1\nphp = \"\xff\"\n").unwrap();
    let line = world.line(world.load(Request { app: Some("shop".into()), ..Request::default() }));
    assert_eq!(line, "$/etc/shop.toml:2: not UTF-8; save the file in UTF-8");
}

#[test]
fn errors_of_the_command_line() {
    let world = World::new();
    let cases: &[(&'static str, &str, &str)] = &[
        ("pool_size", "many", "--pool-size: expected a whole number from 1 to 1000, got \"many\"; e.g. --pool-size 10"),
        ("pop", "hop", "--pop: expected \"safe\" or \"strict\", got \"hop\"; e.g. --pop safe"),
        ("force", "maybe", "--force: expected true or false, got \"maybe\"; e.g. --force false"),
        (
            "pool_max_size",
            "4",
            "--pool-max-size: 4 is below --pool-size (8); raise --pool-max-size or lower --pool-size",
        ),
    ];
    for (key, value, error) in cases {
        let result = world.shop(&format!("{PATH}pool_size = 8\n"), &[(key, value)]);
        assert!(result.as_ref().is_err_and(Error::is_usage), "{key}");
        assert_eq!(world.line(result), *error);
    }
    let bad = |max_jobs: Option<&str>, max_time: Option<&str>| {
        let flags = world.flags(&[("path", "$/srv/shop")]);
        let own = |text: Option<&str>| text.map(str::to_owned);
        let request = Request { flags, max_jobs: own(max_jobs), max_time: own(max_time), ..Request::default() };
        world.load(request)
    };
    assert!(world.line(bad(Some("-1"), None)).starts_with("--max-jobs: expected a whole number"));
    assert!(world.line(bad(None, Some("soon"))).starts_with("--max-time: expected a duration"));
    let settings = bad(Some("7"), Some("1h")).unwrap().settings;
    assert_eq!((settings.limits.max_jobs, settings.limits.max_time), (7, Duration::from_secs(3600)));
    let line = world.line(world.load(Request { app: Some("My-Shop".into()), ..Request::default() }));
    assert_eq!(line, "app name \"My-Shop\": must be 1 to 32 of a-z, 0-9 and _, and not begin with _; e.g. \"my_shop\"");
}
