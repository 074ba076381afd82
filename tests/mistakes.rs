//! What people get wrong, and what kqueue says then: one line that names what is wrong and the fix, and the exit code.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod app;

use std::fs;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use app::{NOBODY, World, run, said};

/// A mistake.
struct Mistake {
    name: &'static str,
    /// Makes it, in an app that is right.
    make: fn(&World),
    /// The command line.
    args: &'static [&'static str],
    /// What the line says is wrong, and what to do.
    says: &'static [&'static str],
    code: i32,
}

/// In the app, which is worked with `kqueue run --once`.
const RUN: &[&str] = &["run", "--as-root", "--path", "shop", "--once", "--state-dir", "state", "--runtime-dir", "run"];

fn settings(world: &World, text: &str) {
    fs::write(world.file(), text).unwrap();
}

fn environment(world: &World, line: &str) {
    let file = world.app().join(".env");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(file, format!("{text}{line}\n")).unwrap();
}

const CHECK: &[&str] = &["config", "check", "--config", "shop.toml"];

const MISTAKES: &[Mistake] = &[
    Mistake {
        name: "a key that does not exist",
        make: |world| settings(world, "path = \"shop\"\npool_sise = 3\n"),
        args: CHECK,
        says: &["shop.toml:2: unknown key \"pool_sise\"", "did you mean \"pool_size\"?"],
        code: 78,
    },
    Mistake {
        name: "a key that is there twice",
        make: |world| settings(world, "path = \"shop\"\ntries = 1\n\ntries = 2\n"),
        args: CHECK,
        says: &["shop.toml:4: tries: is set a second time", "the first is in line 2: keep one of them"],
        code: 78,
    },
    Mistake {
        name: "a file that is not UTF-8",
        make: |world| fs::write(world.file(), b"path = \"shop\"\nphp = \"\xe9\"\n").unwrap(),
        args: CHECK,
        says: &["shop.toml:2: not UTF-8", "save the file in UTF-8"],
        code: 78,
    },
    Mistake {
        name: "a path that only a shell understands",
        make: |world| settings(world, "path = \"~/shop\"\n"),
        args: CHECK,
        says: &[
            "shop.toml:1: path: ~/shop begins with ~, which only a shell expands",
            "write the absolute path: path = \"/",
        ],
        code: 78,
    },
    Mistake {
        name: "a directory that is no app",
        make: |_| {},
        args: &["run", "--path", "php"],
        says: &["php has no artisan", "give the app's directory, the one that holds artisan"],
        code: 78,
    },
    Mistake {
        name: "no app and no path",
        make: |_| {},
        args: &["run"],
        says: &["path: no value", "give --path DIR, the directory that holds artisan, or APP"],
        code: 78,
    },
    Mistake {
        name: "an app without a file",
        make: |_| {},
        args: &["run", "no_such_app_here"],
        says: &[
            "/etc/kqueue/no_such_app_here.toml: no such file",
            "`kqueue init no_such_app_here --path DIR` writes one",
        ],
        code: 78,
    },
    Mistake {
        name: "a name of queues that is empty",
        make: |_| {},
        args: &["run", "--as-root", "--path", "shop", "--queue", ""],
        says: &["--queues: is empty", "leave it out for the default"],
        code: 2,
    },
    Mistake {
        name: "an option of queue:work that kqueue has no use for",
        make: |_| {},
        args: &["run", "--sleep=3"],
        says: &["--sleep: not an option here: kqueue does not poll", "leave it out", "Usage: kqueue run "],
        code: 2,
    },
    Mistake {
        name: "an option that does not exist",
        make: |_| {},
        args: &["status", "--jsn"],
        says: &["unexpected argument '--jsn'", "a similar argument exists: '--json'", "Usage: kqueue status "],
        code: 2,
    },
    Mistake {
        name: "a command that does not exist",
        make: |_| {},
        args: &["chekc"],
        says: &["unrecognized subcommand 'chekc'", "a similar subcommand exists: 'check'"],
        code: 2,
    },
    Mistake {
        name: "jobs of an app that does not run",
        make: |world| fs::create_dir(world.dir.path().join("run")).unwrap(),
        args: &["jobs", "shop", "--runtime-dir", "run"],
        says: &["shop: not available (stopped)", "start it: systemctl start kqueue@shop"],
        code: 3,
    },
    Mistake {
        name: "figures of an app that does not exist",
        make: |_| {},
        args: &["stats", "no_such_app_here"],
        says: &["no_such_app_here: no such app: no file in /etc/kqueue"],
        code: 4,
    },
    Mistake {
        name: "a time that is none",
        make: |_| {},
        args: &["jobs", "shop", "--since", "yesterday"],
        says: &["invalid value 'yesterday' for '--since <TIME>'", "30min, 1h, 7d", "14:00"],
        code: 2,
    },
    Mistake {
        name: "two states at once",
        make: |_| {},
        args: &["jobs", "shop", "--failed", "--running"],
        says: &["'--failed' cannot be used with '--running'"],
        code: 2,
    },
    Mistake {
        name: "a job without its uuid",
        make: |_| {},
        args: &["job", "shop"],
        says: &["<UUID>", "Usage: kqueue job "],
        code: 2,
    },
    Mistake {
        name: "a limit of health that is none: a monitor must not take it for the app's fault",
        make: |_| {},
        args: &["health", "shop", "--max-wait", "soon"],
        says: &["invalid value 'soon' for '--max-wait", "expected a duration such as 5min"],
        code: 3,
    },
    Mistake {
        name: "a view that needs a terminal, in a pipe",
        make: |_| {},
        args: &["top", "shop"],
        says: &["top needs a terminal", "kqueue status --watch needs none"],
        code: 1,
    },
    Mistake {
        name: "--yes to a question that nobody asks",
        make: |_| {},
        args: &["tune", "shop", "--runtime-dir", "run", "--yes"],
        says: &["--write"],
        code: 2,
    },
    Mistake {
        name: "packages that are not installed",
        make: |world| fs::remove_dir_all(world.app().join("vendor")).unwrap(),
        args: RUN,
        says: &["did not boot", "run composer install in "],
        code: 1,
    },
    Mistake {
        name: "a broken .env",
        make: |world| environment(world, "NAME=my shop"),
        args: RUN,
        says: &["Failed to parse dotenv file. Encountered unexpected whitespace at [my shop].", "fix ", "/shop/.env"],
        code: 1,
    },
    Mistake {
        name: "a connection that does not exist",
        make: |_| {},
        args: &[
            "run",
            "--as-root",
            "--path",
            "shop",
            "--connection",
            "rabbits",
            "--state-dir",
            "state",
            "--runtime-dir",
            "run",
        ],
        says: &[
            "the app has no queue connection named 'rabbits'; config/queue.php has sync, database, beanstalkd, own, redis, sqs",
            "use an existing connection",
        ],
        code: 78,
    },
    Mistake {
        name: "no table for the queue",
        make: |world| {
            let sql = "(new PDO('sqlite:shop/database/database.sqlite'))->exec('drop table jobs');";
            run(Command::new("php").args(["-r", sql]).current_dir(world.dir.path()));
        },
        args: RUN,
        says: &[
            "no such table: jobs",
            "php artisan make:queue-table (queue:table before Laravel 11)",
            "php artisan migrate",
        ],
        code: 1,
    },
    Mistake {
        name: "a SQLite database that is not there",
        make: |world| fs::remove_file(world.app().join("database/database.sqlite")).unwrap(),
        args: RUN,
        says: &["shop/database/database.sqlite of connection 'sqlite' does not exist", "php artisan migrate in "],
        code: 1,
    },
];

#[test]
fn each_mistake_is_named_with_its_fix() {
    for Mistake { name, make, args, says, code } in MISTAKES {
        let world = World::new();
        make(&world);
        let output = as_user(&world, args);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(*code), "{name}: {text}");
        for part in *says {
            assert!(text.contains(part), "{name}: {part:?} is not in: {text}");
        }
        let lines = text.lines().filter(|line| line.starts_with("kqueue: ")).count();
        assert!(lines <= 1, "{name}: {lines} lines: {text}");
    }
}

/// A server that asks for a password, until it is dropped.
struct Redis(Child);

impl Redis {
    fn start(world: &World) -> Self {
        let socket = world.dir.path().join("redis.sock");
        let mut server = Command::new("redis-server");
        server.args([
            "--port",
            "0",
            "--save",
            "",
            "--requirepass",
            "geheim",
            "--unixsocketperm",
            "777",
            "--unixsocket",
        ]);
        let server = server.arg(&socket).current_dir(world.dir.path()).stdout(Stdio::null()).spawn().unwrap();
        let server = Self(server);
        let start = Instant::now();
        while UnixStream::connect(&socket).is_err() {
            assert!(start.elapsed() < Duration::from_secs(10), "no redis-server");
            std::thread::sleep(Duration::from_millis(5));
        }
        environment(world, &format!("QUEUE_CONNECTION=redis\nREDIS_HOST={}\nREDIS_PORT=0", socket.display()));
        server
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_redis_that_refuses_is_named_with_the_key_of_the_environment() {
    for (lines, says) in [
        ("REDIS_PASSWORD=falsch", ["WRONGPASS", "check REDIS_USERNAME and REDIS_PASSWORD in .env"]),
        ("", ["NOAUTH", "check REDIS_USERNAME and REDIS_PASSWORD in .env"]),
        ("REDIS_PASSWORD=geheim\nREDIS_DB=99", ["out of range", "check REDIS_DB in .env"]),
    ] {
        let world = World::new();
        let _redis = Redis::start(&world);
        environment(&world, lines);
        let output = as_user(&world, RUN);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(78), "{lines}: {text}");
        for part in says {
            assert!(text.contains(part), "{lines}: {part:?} is not in: {text}");
        }
        assert!(!text.contains("falsch"), "{text}");
    }
}

/// Runs kqueue as the app's user would.
fn as_user(world: &World, args: &[&str]) -> Output {
    let program = world.dir.path().join("kqueue");
    fs::copy(env!("CARGO_BIN_EXE_kqueue"), &program).unwrap();
    let mut command = Command::new(program);
    command.args(args).current_dir(world.dir.path()).env("KQUEUE_PHP_DIR", world.dir.path().join("php"));
    command.env_remove("XDG_RUNTIME_DIR").env("HOME", world.dir.path());
    if world.is_root() {
        run(Command::new("chown").arg("-R").arg(format!("{NOBODY}:{NOBODY}")).arg(world.dir.path()));
        command.uid(NOBODY).gid(NOBODY);
    }
    command.stdin(Stdio::null()).output().unwrap()
}
