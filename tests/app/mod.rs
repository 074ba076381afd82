//! A real app for tests of the command line. As root it is another user's, as it would be on a server.
#![allow(dead_code)] // each program of tests uses its part

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The user of apps where we are root.
pub const NOBODY: u32 = 65534;

#[derive(Debug)]
pub struct World {
    pub dir: tempfile::TempDir,
}

impl World {
    /// An app named shop, with a queue in SQLite.
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("kq").tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        let here = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
        let make = "require $argv[1]; use Kqueue\\Tests\\TestApp; TestApp::make($argv[2]); \
                    TestApp::database($argv[2])->exec(TestApp::schema('sqlite')); TestApp::writeEnv($argv[2], \
                    ['APP_KEY' => TestApp::key(), 'APP_ENV' => 'production', 'QUEUE_CONNECTION' => 'database']);";
        let world = Self { dir };
        let output = Command::new("php")
            .args(["-r", make])
            .arg(here.join("tests/machine/autoload.php"))
            .arg(world.app())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", said(&output));
        // The repository may be where the app's user cannot look.
        run(Command::new("cp").arg("-r").arg(here.join("src/php")).arg(world.dir.path().join("php")));
        if world.is_root() {
            run(Command::new("chown").arg("-R").arg(format!("{NOBODY}:{NOBODY}")).arg(world.app()));
        }
        world
    }

    pub fn is_root(&self) -> bool {
        nix::unistd::geteuid().is_root()
    }

    pub fn app(&self) -> PathBuf {
        self.dir.path().join("shop")
    }

    pub fn file(&self) -> PathBuf {
        self.dir.path().join("shop.toml")
    }

    pub fn kqueue(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kqueue"));
        command.args(args).current_dir(self.dir.path()).env("KQUEUE_PHP_DIR", self.dir.path().join("php"));
        command.stdin(Stdio::null()).output().unwrap()
    }

    pub fn init(&self, args: &[&str]) -> Output {
        self.kqueue(&[&["init", "shop", "--path", "shop", "--config", "shop.toml"], args].concat())
    }

    /// What `kqueue check` finds, but notes, as `SEVERITY CHECK`, and its exit code.
    pub fn check(&self) -> (Vec<String>, Option<i32>) {
        let output = self.kqueue(&["check", "--config", "shop.toml", "--json"]);
        let reports: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)));
        let findings = reports[0]["findings"].as_array().unwrap();
        let word = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
        assert!(findings.iter().all(|finding| !word(finding, "what").is_empty() && !word(finding, "fix").is_empty()));
        let told = findings.iter().map(|finding| format!("{} {}", word(finding, "severity"), word(finding, "check")));
        (told.filter(|told| !told.starts_with("note")).collect(), output.status.code())
    }

    pub fn configure(&self, lines: &str) {
        fs::write(self.file(), format!("path = \"shop\"\n{lines}\n")).unwrap();
    }
}

pub fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}

pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
