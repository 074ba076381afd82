//! `kqueue init`: finds out what there is to know of an app, and writes its config file.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::check::connections::{self, Other};
use super::leave_root::AsRoot;
use super::write::{self, Manner};
use super::{Failed, USAGE, print, stdio};
use crate::survey::{self, Found, OLDEST_PHP, Question, Stage, UNIT_PATH};
use kqueue_config::{self as config, Draft, Surroundings};
use kqueue_system::identity::{self, Account, App};
use kqueue_system::owner;

#[derive(Debug, Args)]
pub(super) struct Init {
    /// Name of the app: its file is /etc/kqueue/APP.toml, its unit kqueue@APP
    app: String,
    /// The app's directory, the one that holds artisan; by default, the current directory
    #[arg(long, value_name = "DIR", default_value = ".", hide_default_value = true)]
    path: PathBuf,
    /// The user that the app runs as; by default, the owner of DIR
    #[arg(long)]
    user: Option<String>,
    /// The PHP interpreter; by default, the `php` in PATH, or the newest other one if the app does not boot with it
    #[arg(long)]
    php: Option<PathBuf>,
    /// The queue connection; by default, the app's default connection
    #[arg(long, value_name = "NAME")]
    connection: Option<String>,
    /// The queues, in strict order; by default, the connection's own queue
    #[arg(long, value_name = "NAMES")]
    queue: Option<String>,
    /// A file to write instead of /etc/kqueue/APP.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    as_root: AsRoot,
    #[command(flatten)]
    manner: Manner,
}

pub(super) fn run(asked: Init) -> Result<ExitCode, Failed> {
    let here = surroundings()?;
    let app = config::check_name(&asked.app)?;
    let path = here.cwd.join(&asked.path).components().collect::<PathBuf>();
    let mut draft = Draft::new([]);
    let taken = |error: config::Error| Failed { code: USAGE, line: error.to_string() };
    for (key, text) in [("connection", &asked.connection), ("queues", &asked.queue)] {
        if let Some(text) = text {
            draft.set(key, text, None).map_err(taken)?;
        }
    }
    let wanted =
        Wanted { user: asked.user.as_deref(), php: asked.php.as_deref(), as_root: asked.as_root, ..Wanted::default() };
    let looked = look(&path, &wanted, &draft, &here)?;
    let file = asked.config.as_ref().map(|file| here.cwd.join(file));
    let file = file.unwrap_or_else(|| here.etc.join(format!("{app}.toml")));
    let text = complete(&app, &path, &looked, &draft, "written by `kqueue init`")?;
    let outcome = write::put(&app, &file, &text, asked.manner, &here)?;
    write::settle(&app, &file, outcome, &here, &write::enable(&app))?;
    print(&others_of(&app, &path, &looked.found))?;
    Ok(ExitCode::SUCCESS)
}

/// What is to be done for the app's other connections: each has an instance of its own.
fn others_of(app: &str, path: &Path, found: &Found) -> String {
    let told = connections::others(app, found).map(|Other { name, place, instance }| {
        let path = shell_words::quote(&path.to_string_lossy()).into_owned();
        format!("the app also uses the queue connection {name} ({place}); unless something else works its queues: kqueue init {instance} --path {path} --connection {name}\n")
    });
    told.collect()
}

/// What the machine says, with the `PATH` that units have.
pub(super) fn surroundings() -> Result<Surroundings, Failed> {
    let mut here = Surroundings::read().map_err(|error| Failed::at("working directory", error))?;
    here.vars.insert("PATH".into(), UNIT_PATH.into());
    Ok(here)
}

/// What somebody has said already.
#[derive(Debug, Default)]
pub(super) struct Wanted<'a> {
    pub user: Option<&'a str>,
    pub php: Option<&'a Path>,
    pub php_args: Vec<String>,
    /// The environment of which Horizon's plan is wanted.
    pub environment: Option<&'a str>,
    /// Whether it may be root's.
    pub as_root: AsRoot,
}

/// What was found out about an app.
#[derive(Debug)]
pub(super) struct Looked {
    /// Who it runs as.
    pub user: Account,
    /// Whether that has to be written, since it is not the owner of the directory.
    pub named: bool,
    /// The interpreter, as a path.
    pub php: PathBuf,
    /// Whether that has to be written, since it is not the `php` of `PATH`.
    pub other: bool,
    /// What the app said.
    pub found: Found,
}

/// Finds user and PHP, and asks the app.
pub(super) fn look(path: &Path, wanted: &Wanted<'_>, draft: &Draft, here: &Surroundings) -> Result<Looked, Failed> {
    if !path.join("artisan").is_file() {
        let line =
            format!("--path: {} has no artisan; give the app's directory, the one that holds artisan", path.display());
        return Err(Failed::config(line));
    }
    let (user, named) = user(path, wanted)?;
    if !user.is_us() && here.uid != 0 {
        let line = format!(
            "the app runs as {}, and only root can inspect it as that user; run this as root, or as {}",
            user.name, user.name
        );
        return Err(Failed { code: super::FAILURE, line });
    }
    let question = Question {
        path: path.to_owned(),
        php_args: wanted.php_args.clone(),
        connection: draft.get("connection").map(str::to_owned),
        queues: draft
            .get("queues")
            .map(|names| names.split(',').map(|name| name.trim().to_owned()).collect())
            .unwrap_or_default(),
        environment: wanted.environment.map(str::to_owned),
        patience: std::time::Duration::from_secs(60),
        ..Question::default()
    };
    let usual = in_path(Path::new("php"), here);
    let candidates = match wanted.php {
        Some(php) => vec![in_path(php, here).ok_or_else(|| {
            Failed::config(format!("--php: {} does not exist; give the path of PHP's command line", php.display()))
        })?],
        None => usual.iter().cloned().chain(others(usual.as_deref())).collect(),
    };
    let manner = survey::Manner { unit: true, as_root: wanted.as_root.as_root };
    let mut first = None;
    for php in candidates {
        let found = survey::ask(&Question { php: php.clone(), ..question.clone() }, Some(&user), manner)
            .map_err(|line| Failed { code: super::FAILURE, line })?;
        let other = Some(&php) != usual.as_ref();
        let looked = Looked { user: user.clone(), named, other, php, found };
        if looked.found.lacks.is_none() && !matches!(looked.found.stage(), Some(Stage::Php | Stage::Boot)) {
            return Ok(looked);
        }
        // The one that everything else on the machine would take is the one to tell of.
        first.get_or_insert(looked);
    }
    first.ok_or_else(|| {
        Failed::config("there is no PHP; install its command line (php-cli), or give its path: --php PATH".into())
    })
}

/// As whom the app runs, and whether that has to be written.
fn user(path: &Path, wanted: &Wanted<'_>) -> Result<(Account, bool), Failed> {
    let app = App { path, user: wanted.user, group: None };
    let user = identity::user_of(app, wanted.as_root.as_root)
        .map_err(|refused| Failed::config(format!("{}; set the app's user: --user www-data", refused.what)))?;
    let named = wanted.user.is_some() && (owner::of(path) != Ok(user.uid) || user.uid == 0);
    Ok((user, named))
}

/// A program by its path, or by its name in `PATH`.
fn in_path(program: &Path, here: &Surroundings) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return Some(here.cwd.join(program)).filter(|path| path.is_file());
    }
    UNIT_PATH.split(':').map(|directory| Path::new(directory).join(program)).find(|path| path.is_file())
}

/// Other PHPs, where distributions put them, the newest first. Those that are too old are none.
fn others(usual: Option<&Path>) -> Vec<PathBuf> {
    let named = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.strip_prefix("php").is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit() || c == '.'))
    };
    let list =
        |directory: &Path| std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut paths: Vec<PathBuf> =
        ["/usr/local/bin", "/usr/bin"].iter().flat_map(|dir| list(Path::new(dir))).filter(named).collect();
    // Remi's collections, for distributions of the Red Hat family.
    paths.extend(list(Path::new("/opt/remi")).map(|dir| dir.join("root/usr/bin/php")).filter(|path| path.is_file()));
    // Of several names for one the longest: php8.4 stays that, php may become another.
    paths.sort_by_key(|path| std::cmp::Reverse(path.as_os_str().len()));
    let mut seen: Vec<PathBuf> = usual.and_then(|path| path.canonicalize().ok()).into_iter().collect();
    let mut found: Vec<(u32, PathBuf)> = Vec::new();
    for path in paths {
        let Ok(real) = path.canonicalize() else { continue };
        if !seen.contains(&real)
            && let Ok((_, id)) = survey::version(&path, &[])
            && id >= OLDEST_PHP
        {
            found.push((id, path));
        }
        seen.push(real);
    }
    found.sort();
    found.into_iter().rev().map(|(_, path)| path).collect()
}

/// The file's text: what was found, then what differs from the defaults.
pub(super) fn complete(app: &str, path: &Path, looked: &Looked, given: &Draft, by: &str) -> Result<String, Failed> {
    let found = &looked.found;
    let mut draft = given.clone();
    draft.put_first(&[
        format!("kqueue: settings of {app}, {by}. Keys that are not listed have their default:"),
        "`kqueue config example` and kqueue.toml(5) list every key with its meaning, `kqueue check` finds problems."
            .into(),
        format!("After a change: systemctl daemon-reload, then systemctl reload kqueue@{app}"),
        String::new(),
        format!("Found: {}.", summary(looked)),
    ]);
    let taken = |error: config::Error| Failed::config(error.to_string());
    draft.set("path", &path.to_string_lossy(), None).map_err(taken)?;
    if looked.named {
        draft.set("user", &looked.user.name, None).map_err(taken)?;
    }
    if looked.other {
        draft.set("php", &looked.php.to_string_lossy(), None).map_err(taken)?;
    }
    if let Some(failure) = &found.failed {
        stdio::err(&format!("kqueue: warning: {}", failure.text));
        print(&format!("found: {}\n", summary(looked)))?;
        stdio::err(&format!("kqueue: warning: {app} cannot run yet; `kqueue check {app}` shows the fix"));
    } else {
        print(&format!("found: {}\n", summary(looked)))?;
    }
    Ok(draft.text())
}

fn summary(looked: &Looked) -> String {
    let found = &looked.found;
    let owner = if looked.named { "" } else { ", the owner of path" };
    let mut text = format!("user {}{owner}; {}", looked.user.name, looked.php.display());
    if let Some(version) = &found.php {
        text += &format!(" is PHP {version}");
    }
    match &found.laravel {
        Some(version) => text += &format!("; Laravel {version}"),
        None => text += "; the app does not boot",
    }
    if let (Some(connection), Some(queue)) = (&found.connection, &found.queue) {
        text += &format!("; connection {connection}, queue {queue}");
    }
    text
}
