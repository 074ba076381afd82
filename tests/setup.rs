//! `kqueue init`, `kqueue check` and `kqueue import` as an operator meets them, with a real app. As root the app is
//! another user's, as it would be on a server.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod app;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;

use std::process::{Command, Stdio};

use app::{NOBODY, World, run, said};
use serde_json::Value;

#[test]
fn init_writes_once_and_keeps_what_is_edited() {
    let world = World::new();
    let dry = world.init(&["--dry-run"]);
    assert_eq!(dry.status.code(), Some(0), "{}", said(&dry));
    assert!(
        said(&dry).contains("Laravel ") && said(&dry).contains("connection database, queue default"),
        "{}",
        said(&dry)
    );
    assert!(!world.file().exists());

    let output = world.init(&["--queue", "high,default"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let text = fs::read_to_string(world.file()).unwrap();
    let keys: Vec<&str> = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    assert_eq!(keys, [&*format!("path = {:?}", world.app()), "queues = \"high,default\""]);
    let checked = world.kqueue(&["config", "check", "--config", "shop.toml"]);
    assert!(checked.status.success(), "{}", said(&checked));

    let again = world.init(&["--queue", "high,default"]);
    assert_eq!(again.status.code(), Some(0), "{}", said(&again));
    assert!(said(&again).contains("already contains"), "{}", said(&again));
    fs::write(world.file(), format!("{text}tries = 3\n")).unwrap();
    let refused = world.init(&["--queue", "high,default"]);
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
    assert!(said(&refused).contains("--force"), "{}", said(&refused));
    assert!(fs::read_to_string(world.file()).unwrap().ends_with("tries = 3\n"));
    let forced = world.init(&["--queue", "high,default", "--force"]);
    assert_eq!(forced.status.code(), Some(0), "{}", said(&forced));
    assert_eq!(fs::read_to_string(world.file()).unwrap(), text);
    assert!(fs::read_to_string(world.dir.path().join("shop.toml~")).unwrap().ends_with("tries = 3\n"));
}

#[test]
fn init_refuses_what_cannot_be_right() {
    let world = World::new();
    for (args, code, why) in [
        (&["init", "My Shop", "--path", "shop"][..], 2, "app name"),
        (&["init", "shop", "--path", "no/such"], 78, "has no artisan"),
        (&["init", "shop", "--path", "shop", "--user", "no-such-user"], 78, "there is no user"),
        (&["init", "shop", "--path", "shop", "--php", "/no/php"], 78, "--php"),
        (&["init", "shop", "--path", "shop", "--queue", ","], 2, "queues"),
        (&["init", "shop"], 78, "has no artisan"),
        (&["init"], 2, "<APP>"),
    ] {
        let output = world.kqueue(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", said(&output));
        assert!(said(&output).contains(why), "{args:?}: {}", said(&output));
    }
    if world.is_root() {
        run(Command::new("chown").arg("0").arg(world.app()));
        let output = world.init(&[]);
        assert_eq!(output.status.code(), Some(78), "{}", said(&output));
        assert!(said(&output).contains("belongs to root"), "{}", said(&output));
        let output = world.init(&["--user", "nobody"]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        assert!(fs::read_to_string(world.file()).unwrap().contains("\nuser = \"nobody\"\n"));
    }
}

#[test]
fn check_finds_nothing_wrong_with_an_app_that_is_right() {
    let world = World::new();
    world.configure("");
    assert_eq!(world.check(), (vec![], Some(0)));
    let output = world.kqueue(&["check", "--config", "shop.toml"]);
    assert!(said(&output).contains("shop: nothing is wrong"), "{}", said(&output));
    assert!(said(&output).contains("connection database, queue default"), "{}", said(&output));
}

#[test]
fn check_names_each_fault() {
    let world = World::new();
    let app = world.app();
    let cache = app.join("config/cache.php");
    let usual = fs::read_to_string(&cache).unwrap();
    fs::write(
        &cache,
        "<?php return ['default' => 'array', 'stores' => ['array' => ['driver' => 'array']], 'prefix' => ''];",
    )
    .unwrap();
    fs::set_permissions(app.join("storage/logs"), Permissions::from_mode(0o555)).unwrap();
    world.configure("renew = false\ntimeout = \"10min\"\npool_max_size = 1000\nworker_memory = \"400G\"");
    let mut stock = Command::new("php");
    stock
        .args(["artisan", "queue:work", "--queue=default"])
        .current_dir(&app)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if world.is_root() {
        stock.uid(NOBODY).gid(NOBODY);
    }
    let mut stock = stock.spawn().unwrap();
    let found = world.check();
    stock.kill().unwrap();
    stock.wait().unwrap();
    let expected = ["error storage", "error retry-after", "warning cache", "warning rival", "warning memory"];
    assert_eq!(found, (expected.map(str::to_owned).to_vec(), Some(1)));
    // What is no error is told by another code.
    fs::set_permissions(app.join("storage/logs"), Permissions::from_mode(0o755)).unwrap();
    world.configure("");
    assert_eq!(world.check(), (vec!["warning cache".to_owned()], Some(3)));
    fs::write(&cache, usual).unwrap();

    // What it opens while it boots, and an artisan that is none.
    let (boot, artisan) = (app.join("bootstrap/app.php"), app.join("artisan"));
    let usual = [&boot, &artisan].map(|file| fs::read_to_string(file).unwrap());
    let opens = "$GLOBALS['open'] = stream_socket_pair(STREAM_PF_UNIX, STREAM_SOCK_STREAM, 0);\nreturn $app;";
    fs::write(&boot, usual[0].replace("return $app;", opens)).unwrap();
    assert_eq!(world.check(), (vec!["warning boot-connection".to_owned()], Some(3)));
    world.configure("fork_safe_peers = \"socket\"");
    assert_eq!(world.check(), (vec![], Some(0)));
    world.configure("start = \"spawn\"");
    assert_eq!(world.check(), (vec![], Some(0)));
    world.configure("");
    fs::write(&boot, &usual[0]).unwrap();
    fs::write(&artisan, "<?php umask(0); require 'console.php';").unwrap();
    assert_eq!(world.check(), (vec!["warning artisan".to_owned()], Some(3)));
    fs::write(&artisan, &usual[1]).unwrap();

    world.configure("connection = \"nowhere\"");
    assert_eq!(world.check(), (vec!["error connection".to_owned()], Some(1)));
    world.configure("connection = \"sync\"");
    assert_eq!(world.check(), (vec!["error connection".to_owned()], Some(1)));
    world.configure("php = \"/bin/true\"");
    assert_eq!(world.check(), (vec!["error php".to_owned()], Some(1)));
    world.configure("user = \"no-such-user\"");
    assert_eq!(world.check(), (vec!["error user".to_owned()], Some(1)));
    world.configure("");
    fs::remove_file(app.join("database/database.sqlite")).unwrap();
    assert_eq!(world.check(), (vec!["error connection".to_owned()], Some(1)));
    // Nobody listens there.
    let env = fs::read_to_string(app.join(".env")).unwrap();
    fs::write(app.join(".env"), format!("{env}REDIS_HOST=127.0.0.1\nREDIS_PORT=1\n")).unwrap();
    world.configure("connection = \"redis\"");
    assert_eq!(world.check(), (vec!["error queue".to_owned()], Some(1)));
    // However it fails, and whatever it prints before that.
    for boot in ["throw new Exception('no key');", "echo '{'; exit(0);", "no_such_function();", "this is no PHP"] {
        fs::write(app.join("bootstrap/app.php"), format!("<?php {boot}")).unwrap();
        assert_eq!(world.check(), (vec!["error boot".to_owned()], Some(1)), "{boot}");
    }
}

#[test]
fn horizon_is_read_by_the_app_itself() {
    let world = World::new();
    let import = |args: &[&str]| world.kqueue(&[&["import", "horizon", "--path", "shop"], args].concat());
    let none = import(&[]);
    assert_eq!(none.status.code(), Some(78), "{}", said(&none));
    let plan = "<?php return ['defaults' => ['one' => ['connection' => 'redis', 'queue' => ['default'], 'balance' => 'auto', \
                'tries' => 1, 'timeout' => 60]], 'environments' => ['prod*' => ['one' => ['maxProcesses' => 3 + 4, 'queue' => \
                ['high', 'default']]], 'local' => ['one' => ['max_processes' => 3]]]];";
    fs::write(world.app().join("config/horizon.php"), plan).unwrap();
    let output = import(&[]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for line in ["connection = \"redis\"", "queues = \"high,default\"", "pool_size = 7"] {
        assert!(text.lines().any(|other| other == line), "{line}: {text}");
    }
    assert!(String::from_utf8_lossy(&output.stderr).contains("note: shop: balance = auto"), "{}", said(&output));
    let local = import(&["--environment", "local"]);
    assert!(said(&local).contains("pool_size = 3"), "{}", said(&local));
    let absent = import(&["--environment", "staging"]);
    assert_eq!(absent.status.code(), Some(78), "{}", said(&absent));
    assert!(said(&absent).contains("--environment NAME: prod*, local"), "{}", said(&absent));
}

#[test]
fn supervisor_files_become_config_files() {
    let world = World::new();
    let file = world.dir.path().join("shop.conf");
    let program =
        "[program:shop]\ncommand=php %(here)s/shop/artisan queue:work --tries=3 --sleep=3\nnumprocs=4\nuser=nobody\n";
    fs::write(&file, program).unwrap();
    let output = world.kqueue(&["import", "supervisor", "shop.conf"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(String::from_utf8_lossy(&output.stderr).contains("note: shop: --sleep=3"), "{}", said(&output));
    // What is printed is a config file.
    fs::write(world.file(), &output.stdout).unwrap();
    let checked = world.kqueue(&["config", "check", "--config", "shop.toml", "--json"]);
    let checked: Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert_eq!((&checked["settings"]["tries"], &checked["settings"]["pool_size"]), (&3.into(), &4.into()));
    fs::write(&file, "[program:node]\ncommand=node x.js\n").unwrap();
    let output = world.kqueue(&["import", "supervisor", "shop.conf"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
}
