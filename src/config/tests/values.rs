//! Accepted values, and the settings they result in.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::*;

#[test]
fn defaults() {
    let world = World::new();
    let settings = world.shop(PATH, &[]).unwrap().settings;
    let expected = Settings {
        app: "shop".into(),
        path: world.at("srv/shop"),
        php: world.at("bin/php"),
        php_args: vec![],
        connection: None,
        weights: Vec::new(),
        queues: vec![],
        fair_by: None,
        launcher: LauncherKind::Auto,
        start: Start::Fork,
        fork_safe_peers: vec![],
        umask: None,
        user: None,
        group: None,
        operators: false,
        setuid: false,
        default_tier: DefaultTier::Auto,
        inline_max_duration: Duration::from_secs(1),
        pooled_max_duration: Duration::from_secs(30),
        idle_after: Some(Duration::from_secs(600)),
        pool_min_idle: 2,
        pool_size: 10,
        pool_max_size: 20,
        max_concurrent_inline: 100,
        max_concurrent_pooled: 20,
        max_concurrent_isolated: 5,
        max_waiting: 256,
        max_waiting_bytes: 64 << 20,
        tries: 1,
        history: true,
        history_jobs: 10_000,
        timeout: Some(Duration::from_secs(60)),
        backoff: "0".into(),
        force: false,
        worker_max_jobs: 1000,
        worker_max_time: Duration::from_secs(3600),
        worker_memory: 128,
        worker_memory_max: 512,
        runtime_memory_max: None,
        isolated_memory_max: 512,
        isolated_memory_cap: None,
        isolated_time_cap: None,
        isolated_tasks_max: 512,
        isolated_cpu_weight: 100,
        isolated_io_weight: 100,
        crash: Crash::Replay,
        pop: Pop::Safe,
        ack: Ack::Auto,
        renew: true,
        horizon: true,
        property_hints: true,
        timeout_grace: Duration::from_secs(3),
        boot_timeout: Duration::from_secs(60),
        stop_timeout: Duration::from_secs(60),
        state_dir: world.at("lib/shop"),
        runtime_dir: "/run/kqueue/shop".into(),
        limits: Limits::default(),
        tables: Tables::default(),
    };
    assert_eq!(settings, expected);
}

/// The example without its comment signs is a valid file, and each default in it is the real one.
#[test]
fn example_says_the_defaults() {
    let world = World::new();
    let bare = world.shop(PATH, &[]).unwrap().settings;
    assert_eq!(world.shop(&format!("{}{PATH}", Settings::example()), &[]).unwrap().settings, bare);
    for key in KEYS {
        let line = format!("#{} = ", key.name);
        let example = Settings::example();
        let line = example.lines().find(|text| text.starts_with(&line)).expect(key.name)[1..].to_owned();
        let path = if key.name == "path" { "" } else { PATH };
        let flag: &[_] = if key.name == "path" { &[("path", "$/srv/shop")] } else { &[] };
        let loaded = world.shop(&format!("{path}{line}\n"), flag).expect(key.name);
        let Some(Origin::File { .. } | Origin::Flag) = loaded.origin(key) else {
            panic!("{} was not read", key.name);
        };
        if let DefaultValue::None(_) = key.default {
            continue;
        }
        let mut settings = loaded.settings.clone();
        // The only default that is a path on the real machine.
        if key.name == "state_dir" {
            assert_eq!(settings.state_dir, PathBuf::from("/var/lib/kqueue/shop"));
            settings.state_dir = bare.state_dir.clone();
        }
        assert_eq!(settings, bare, "{}", key.name);
    }
}

/// What `config check` shows for each key is read back as the same settings.
#[test]
fn shown_values_read_back() {
    let world = World::new();
    let odd = "queues = \"high, low\"\nconnection = \"redis\"\ninline_max_duration = 0.25\ntimeout = 0\n\
               backoff = [1, 5]\nphp_args = \"-d a=b\"\nworker_memory = \"1G\"\ncrash = \"laravel\"\n\
               max_waiting_bytes = \"1M\"\nforce = true\npool_size = 3\nstart = \"spawn\"\numask = \"27\"\n\
               fork_safe_peers = [\"127.0.0.1:*\", \"/run/x.sock\"]\n";
    for file in [PATH.to_owned(), format!("{PATH}{odd}")] {
        let first = world.shop(&file, &[]).unwrap().settings;
        let shown: String = KEYS
            .iter()
            .map(|key| (key.name, key.show(&first)))
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| format!("{name} = {value}\n"))
            .collect();
        assert_eq!(world.shop(&shown, &[]).unwrap().settings, first, "{shown}");
    }
}

#[test]
fn command_line_over_file_over_default() {
    let world = World::new();
    let file = format!("{PATH}tries = 3\ntimeout = \"5min\"\nqueues = [\"a\", \"b\"]\nrenew = false\n");
    let flags = [("tries", "7"), ("queues", "high, default"), ("renew", "true"), ("worker_max_time", "2h 30min")];
    let loaded = world.shop(&file, &flags).unwrap();
    let settings = loaded.settings.clone();
    assert_eq!(settings.tries, 7);
    assert_eq!(settings.timeout, Some(Duration::from_secs(300)));
    assert_eq!(settings.queues, ["high", "default"]);
    assert!(settings.renew);
    assert_eq!(settings.worker_max_time, Duration::from_secs(9000));
    let origin = |name| loaded.origin(keys::key(name).unwrap()).cloned();
    assert_eq!(origin("tries"), Some(Origin::Flag));
    assert_eq!(origin("timeout"), Some(Origin::File { file: world.at("etc/shop.toml"), line: 3 }));
    assert_eq!(origin("crash"), Some(Origin::Default));
}

#[test]
fn values_of_the_file() {
    let world = World::new();
    let line = |key: &str, value: &str| {
        let settings = world.shop(&format!("{PATH}{key} = {value}\n"), &[]).expect(value).settings;
        keys::key(key).unwrap().show(&settings).to_string()
    };
    let cases: &[(&str, &str, &str)] = &[
        ("inline_max_duration", "2", "2"),
        ("inline_max_duration", "0.5", "0.5"),
        ("inline_max_duration", "\"500ms\"", "0.5"),
        ("stop_timeout", "\"2h 30min\"", "9000"),
        ("idle_after", "\"never\"", "\"never\""),
        ("idle_after", "0.25", "0.25"),
        ("timeout", "0", "0"),
        ("timeout", "\"90s\"", "90"),
        ("backoff", "5", "\"5\""),
        ("backoff", "[1, 5, 10]", "\"1,5,10\""),
        ("backoff", "\"1, 5,10\"", "\"1,5,10\""),
        ("queues", "\"a,b\"", "[\"a\",\"b\"]"),
        ("queues", "[\"a\", \"b\"]", "[\"a\",\"b\"]"),
        ("queues", "[]", "null"),
        ("worker_memory", "256", "256"),
        ("worker_memory", "\"1G\"", "1024"),
        ("isolated_memory_max", "\"64M\"", "64"),
        ("max_waiting_bytes", "1000", "1000"),
        ("max_waiting_bytes", "\"1M\"", "1048576"),
        ("php_args", "[\"-d\", \"a=b c\"]", "[\"-d\",\"a=b c\"]"),
        ("php_args", "\"-d  a=b\"", "[\"-d\",\"a=b\"]"),
        ("tries", "0", "0"),
        ("pool_size", "0x10", "16"),
        ("ack", "\"laravel\"", "\"laravel\""),
        ("launcher", "\"process\"", "\"process\""),
    ];
    for (key, value, shown) in cases {
        assert_eq!(line(key, value), *shown, "{key} = {value}");
    }
}

#[test]
fn defaults_yield_to_what_is_written() {
    let world = World::new();
    // (file, memory in MB, pool_min_idle, pool_size, pool_max_size)
    let pools: &[(&str, u64, [usize; 3])] = &[
        ("", 24_000, [2, 10, 20]),
        ("", 1024, [2, 8, 16]),
        ("", 512, [2, 4, 8]),
        ("", 100, [2, 2, 4]),
        ("pool_size = 1", 24_000, [1, 1, 2]),
        ("pool_size = 30", 24_000, [2, 30, 30]),
        ("pool_max_size = 4", 24_000, [2, 4, 4]),
        ("pool_max_size = 1", 24_000, [1, 1, 1]),
        ("pool_min_idle = 15", 24_000, [15, 15, 20]),
    ];
    for (file, memory, [min, size, max]) in pools {
        let mut world = World::new();
        world.here.memory_mb = Some(*memory);
        let tiers = world.shop(&format!("{PATH}{file}\n"), &[]).expect(file).settings;
        assert_eq!([tiers.pool_min_idle, tiers.pool_size, tiers.pool_max_size], [*min, *size, *max], "{file} {memory}");
    }
    let tiers = |file: &str| world.shop(&format!("{PATH}{file}\n"), &[]).expect(file).settings;
    assert_eq!(tiers("pooled_max_duration = 0.5").inline_max_duration, Duration::from_millis(500));
    assert_eq!(tiers("inline_max_duration = 45").pooled_max_duration, Duration::from_secs(45));
    let recycle = |file: &str| world.shop(&format!("{PATH}{file}\n"), &[]).expect(file).settings;
    assert_eq!(recycle("worker_memory = 1024").worker_memory_max, 2048);
    assert_eq!(recycle("worker_memory_max = 64").worker_memory, 64);
}

#[test]
fn the_app() {
    let world = World::new();
    let shape = "give the app's directory, the one that holds artisan: path = \"/srv/shop\"";
    let cases: &[(&str, String)] = &[
        ("", "path: no value; add path = \"/srv/shop\" to $/etc/shop.toml, the directory that holds artisan".into()),
        ("path = \"$/no\"", format!("$/etc/shop.toml:1: path: $/no does not exist; {shape}")),
        ("path = \"$/bin/php\"", format!("$/etc/shop.toml:1: path: $/bin/php is not a directory; {shape}")),
        ("path = \"$/srv/empty\"", format!("$/etc/shop.toml:1: path: $/srv/empty has no artisan; {shape}")),
    ];
    for (file, error) in cases {
        let result = world.shop(file, &[]);
        assert!(result.as_ref().is_err_and(|error| !error.is_usage()), "{file}");
        assert_eq!(world.line(result), *error, "{file}");
    }
    let line = world.line(world.shop(PATH, &[("path", "nowhere")]));
    assert!(line.starts_with("--path: $/nowhere does not exist; "), "{line}");
    assert!(line.ends_with(": --path /srv/shop"), "{line}");
    // Relative to the file that sets it, or to the working directory.
    let path = |result: Result<Loaded, Error>| fs::canonicalize(result.unwrap().settings.path).unwrap();
    let shop = fs::canonicalize(world.at("srv/shop")).unwrap();
    assert_eq!(path(world.shop("path = \"../srv/shop\"", &[])), shop);
    assert_eq!(path(world.shop("", &[("path", "srv/shop/.")])), shop);
    // A link that deployments move is not resolved.
    std::os::unix::fs::symlink(world.at("srv/shop"), world.at("srv/current")).unwrap();
    let settings = world.shop("path = \"$/srv/current/\"", &[]).unwrap().settings;
    assert_eq!(settings.path, world.at("srv/current"));
}

#[test]
fn names_and_files() {
    let world = World::new();
    let request = |app: Option<&str>, config: Option<&str>, path: Option<&str>| {
        world.load(Request {
            app: app.map(str::to_owned),
            config: config.map(|file| world.at(file)),
            flags: path.map(|path| ("path", world.at(path).display().to_string())).into_iter().collect(),
            ..Request::default()
        })
    };
    fs::write(world.at("etc/shop.toml"), world.fill(&format!("{PATH}tries = 9\n"))).unwrap();
    fs::write(world.at("srv/My Other.toml"), world.fill(&format!("{PATH}tries = 5\n"))).unwrap();
    // (APP, --config, --path) → (name, tries, whether a file was read)
    type Asked<'a> = (Option<&'a str>, Option<&'a str>, Option<&'a str>);
    let good: &[(Asked<'_>, &str, u32, bool)] = &[
        ((Some("shop"), None, None), "shop", 9, true),
        ((Some("shop"), Some("srv/My Other.toml"), None), "shop", 5, true),
        ((None, Some("srv/My Other.toml"), None), "my_other", 5, true),
        ((None, None, Some("srv/shop")), "shop", 1, false),
        ((None, None, Some("srv/shop/../shop/")), "shop", 1, false),
        ((Some("blog"), None, Some("srv/shop")), "blog", 1, false),
    ];
    for ((app, config, path), name, tries, read) in good {
        let loaded = request(*app, *config, *path).unwrap();
        assert_eq!(
            (loaded.settings.app.as_str(), loaded.settings.tries, loaded.file.is_some()),
            (*name, *tries, *read)
        );
    }
    let line = world.line(request(Some("blog"), None, None));
    assert_eq!(line, "$/etc/blog.toml: no such file; `kqueue init blog --path DIR` writes one; or give --path DIR");
    let line = world.line(request(None, Some("no.toml"), Some("srv/shop")));
    assert_eq!(line, "$/no.toml: no such file; write one with `kqueue config example`, or leave --config out");
    let line = world.line(request(None, None, None));
    assert_eq!(
        line,
        "path: no value; give --path DIR, the directory that holds artisan, or APP, the name of a file in /etc/kqueue"
    );
    let line = world.line(request(Some("x"), Some("srv"), None));
    assert!(
        line.starts_with("$/srv: cannot be read: ") && line.ends_with("give the file, not the directory"),
        "{line}"
    );
}

#[test]
fn directories() {
    let var = |name: &str, value: &str| (name.to_owned(), std::ffi::OsString::from(value));
    let dirs = |uid: u32, vars: &[(&str, &str)], writable: bool| {
        let mut world = World::new();
        world.here.uid = uid;
        world.here.vars.extend(vars.iter().map(|(name, value)| var(name, value)));
        if !writable {
            // Root may write anywhere, so a missing directory stands for one that is not writable.
            fs::remove_dir(world.at("lib")).unwrap();
        }
        let settings = world.shop(PATH, &[]).unwrap().settings;
        let plain = |path: PathBuf| path.display().to_string().replace(world.dir.path().to_str().unwrap(), "$");
        (plain(settings.state_dir), plain(settings.runtime_dir))
    };
    let own = |state: &str, runtime: &str| (state.to_owned(), runtime.to_owned());
    assert_eq!(dirs(0, &[], false), own("$/lib/shop", "/run/kqueue/shop"));
    assert_eq!(dirs(7, &[], true), own("$/lib/shop", "$/home/.local/state/kqueue/.run/shop"));
    assert_eq!(dirs(7, &[], false), own("$/home/.local/state/kqueue/shop", "$/home/.local/state/kqueue/.run/shop"));
    // A session's directory counts if it is the user's own: not one that was inherited.
    let mine = tempfile::Builder::new().prefix("kq").tempdir().unwrap();
    let session = mine.path().to_str().unwrap();
    let xdg = [("XDG_STATE_HOME", "/x/state"), ("XDG_RUNTIME_DIR", session)];
    assert_eq!(dirs(7, &xdg, false).0, "/x/state/kqueue/shop");
    if nix::unistd::geteuid().is_root() {
        assert_eq!(dirs(7, &xdg, false).1, "$/home/.local/state/kqueue/.run/shop");
        std::os::unix::fs::chown(mine.path(), Some(7), None).unwrap();
        assert_eq!(dirs(7, &xdg, false).1, format!("{session}/kqueue/shop"));
    }
    let relative = [("XDG_STATE_HOME", "x"), ("XDG_RUNTIME_DIR", "")];
    assert_eq!(
        dirs(7, &relative, false),
        own("$/home/.local/state/kqueue/shop", "$/home/.local/state/kqueue/.run/shop")
    );
    let unit = [("STATE_DIRECTORY", "/s/a:/s/b"), ("RUNTIME_DIRECTORY", "/r/a")];
    assert_eq!(dirs(7, &unit, true), own("/s/a", "/r/a"));

    let world = World::new();
    let long = format!("/tmp/{}", "x".repeat(90));
    let line = world.line(world.shop(PATH, &[("runtime_dir", &long)]));
    assert!(
        line.contains("makes a socket path of 108 bytes, above the maximum of 100; give a shorter one: --runtime-dir"),
        "{line}"
    );
    let mut homeless = World::new();
    (homeless.here.uid, homeless.here.home) = (7, None);
    fs::remove_dir(homeless.at("lib")).unwrap();
    let line = homeless.line(homeless.shop(PATH, &[]));
    assert_eq!(line, "state_dir: no value; the user has no home directory; give --state-dir DIR");
}
