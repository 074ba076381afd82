//! Files and command lines with their settings and errors, on a simulated machine in a temporary directory.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::*;

mod app;
mod errors;
mod reload;
mod tables;
mod values;

/// A machine of 24 GB with an app in `srv/shop`, PHP in `bin` and empty system directories.
struct World {
    dir: tempfile::TempDir,
    here: Surroundings,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("kq").tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["etc", "lib", "bin", "srv/shop", "srv/empty"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        fs::write(at("srv/shop/artisan"), "<?php").unwrap();
        fs::write(at("bin/php"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(at("bin/php"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(at("bin/text"), "no program\n").unwrap();
        fs::set_permissions(at("bin/text"), fs::Permissions::from_mode(0o644)).unwrap();
        let here = Surroundings {
            vars: [("PATH".to_owned(), at("bin").into_os_string())].into(),
            uid: 0,
            home: Some(at("home")),
            memory_mb: Some(24_000),
            cwd: dir.path().to_owned(),
            etc: at("etc"),
            var_lib: at("lib"),
            run: PathBuf::from("/run/kqueue"),
            run_user: PathBuf::from("/run/user"),
            proc: PathBuf::from("/proc"),
            tmp: PathBuf::from("/tmp"),
        };
        Self { dir, here }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `kqueue run shop` with this file and these options; `$` in the file is the directory.
    fn shop(&self, file: &str, flags: &[(&'static str, &str)]) -> Result<Loaded, Error> {
        fs::write(self.at("etc/shop.toml"), self.fill(file)).unwrap();
        self.load(Request { app: Some("shop".into()), flags: self.flags(flags), ..Request::default() })
    }

    fn load(&self, request: Request) -> Result<Loaded, Error> {
        load(&request, &self.here)
    }

    fn flags(&self, flags: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
        flags.iter().map(|(key, value)| (*key, self.fill(value))).collect()
    }

    fn fill(&self, text: &str) -> String {
        text.replace('$', self.dir.path().to_str().unwrap())
    }

    /// The error as one line, with `$` for the directory again.
    fn line(&self, result: Result<Loaded, Error>) -> String {
        let line = result.expect_err("no error").to_string();
        assert_eq!(line.lines().count(), 1, "{line}");
        line.replace(self.dir.path().to_str().unwrap(), "$")
    }
}

const PATH: &str = "path = \"$/srv/shop\"\n";
