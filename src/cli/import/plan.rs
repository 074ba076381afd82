//! From what works queues today to config files: which become one app, and what each setting comes to. Pure.
//!
//! Settings of kqueue are an app's, not a queue's: what differs in more than its queues and the number of its
//! processes becomes an app of its own, with the same directory.

use std::path::{Path, PathBuf};

use crate::config::{self, Draft};

/// Something that starts processes for some queues of one app: a program of supervisord's, a supervisor of Horizon's.
#[derive(Clone, Debug, Default)]
pub(super) struct Set {
    pub name: String,
    /// How the file calls it.
    pub source: String,
    pub path: PathBuf,
    pub user: Option<String>,
    pub php: Option<String>,
    pub php_args: String,
    pub connection: Option<String>,
    pub queues: Option<Vec<String>>,
    /// Processes at the most.
    pub processes: u32,
    /// Processes at the least, where that is said.
    pub least: Option<u32>,
    /// Further keys, with their values.
    pub keys: Vec<(&'static str, String)>,
    /// What has no equivalent: what, and why.
    pub dropped: Vec<(String, String)>,
}

/// Why an option of `queue:work` has no equivalent.
pub(super) fn why_not(option: &str) -> &'static str {
    match option {
        "sleep" => "kqueue does not poll: a job starts as soon as it is dispatched",
        "rest" => "kqueue does not pause between jobs; max_concurrent_pooled and its like limit the load",
        "once" | "stop-when-empty" => "the unit goes on; `kqueue run APP` takes the same option, for a timer",
        "env" | "environment" => "set APP_ENV in .env",
        _ => "kqueue has no such option",
    }
}

impl Set {
    /// Sets a key, from something called `from`. What the key does not take is told.
    pub fn key(&mut self, key: &'static str, text: &str, from: &str) {
        match Draft::default().set(key, text, None) {
            Ok(()) => self.keys.push((key, text.to_owned())),
            Err(error) => self.dropped.push((from.to_owned(), error.to_string())),
        }
    }

    /// Tells that something has no equivalent.
    pub fn drop(&mut self, what: &str, why: &str) {
        self.dropped.push((what.to_owned(), why.to_owned()));
    }

    /// Whether both can be one app.
    fn goes_with(&self, other: &Self) -> bool {
        let keys = |set: &Self| {
            let mut draft = Draft::default();
            set.keys.iter().for_each(|(key, text)| drop(draft.set(key, text, None)));
            draft.text()
        };
        let who = |set: &Self| {
            (set.path.clone(), set.user.clone(), set.php.clone(), set.php_args.clone(), set.connection.clone())
        };
        who(self) == who(other) && keys(self) == keys(other)
    }
}

/// One config file to be.
#[derive(Clone, Debug)]
pub(in crate::cli) struct App {
    pub name: String,
    pub path: PathBuf,
    pub user: Option<String>,
    pub php: Option<PathBuf>,
    pub php_args: Vec<String>,
    pub draft: Draft,
}

/// Makes apps of sets, and says in `notes` what they do not carry over.
///
/// # Errors
/// A name that none can be made of, or that is none.
pub(super) fn apps(sets: Vec<Set>, name: Option<&str>, notes: &mut Vec<String>) -> Result<Vec<App>, config::Error> {
    let mut groups: Vec<Vec<Set>> = Vec::new();
    for set in sets {
        match groups.iter_mut().find(|group| group[0].goes_with(&set)) {
            Some(group) => group.push(set),
            None => groups.push(vec![set]),
        }
    }
    let mut apps: Vec<App> = Vec::new();
    for group in groups {
        let first = &group[0];
        let base = match name {
            Some(name) => config::check_name(name)?,
            None => base(&first.path)?,
        };
        let name = if apps.iter().any(|app| app.name == base) {
            let tail: PathBuf = format!("{base}_{}", first.name).into();
            let name = config::name_of(&tail)?;
            notes.push(format!(
                "{name}: an app of its own, since {} has other settings than {base}: they count for all jobs of an app. \
                 Jobs that say $timeout and $tries themselves need no second one",
                first.source
            ));
            name
        } else {
            base
        };
        apps.push(app(name, &group, notes));
    }
    Ok(apps)
}

/// The name of the app in a directory: not that of the link that a deploy moves.
fn base(path: &Path) -> Result<String, config::Error> {
    let passing = ["current", "release", "releases", "live", "app", "html", "public_html", "httpdocs"];
    let named = path.ancestors().find(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        !passing.contains(&name.as_ref()) && !name.is_empty()
    });
    config::name_of(named.unwrap_or(path))
}

fn app(name: String, group: &[Set], notes: &mut Vec<String>) -> App {
    let first = &group[0];
    let sources: Vec<&str> = group.iter().map(|set| set.source.as_str()).collect();
    let mut draft = Draft::default();
    let mut put = |key: &str, text: &str, why: Option<String>| {
        if let Err(error) = draft.set(key, text, why) {
            notes.push(format!("{name}: {error}; left out"));
        }
    };
    put("path", &first.path.to_string_lossy(), None);
    for (key, value) in [("user", &first.user), ("php", &first.php), ("connection", &first.connection)] {
        if let Some(value) = value {
            put(key, value, None);
        }
    }
    if !first.php_args.is_empty() {
        put("php_args", &first.php_args, None);
    }
    let mut queues: Vec<String> = Vec::new();
    if group.iter().any(|set| set.queues.is_some()) {
        for set in group {
            let own = vec!["default".to_owned()];
            let more = set.queues.as_ref().unwrap_or(&own);
            queues.extend(more.iter().filter(|queue| !queues.contains(queue)).cloned().collect::<Vec<_>>());
        }
        put("queues", &queues.join(","), Some(format!("From {}.", sources.join(", "))));
    }
    let processes: u32 = group.iter().map(|set| set.processes).sum();
    let pool = Some(format!(
        "As many processes as {} had. Quick jobs and long ones have processes of their own besides.",
        sources.join(", ")
    ));
    if let Some(least) = group.iter().map(|set| set.least).sum::<Option<u32>>() {
        put("pool_min_idle", &least.min(processes).to_string(), None);
    }
    put("pool_size", &processes.to_string(), pool);
    put("pool_max_size", &processes.to_string(), None);
    if processes > 20 {
        put("max_concurrent_pooled", &processes.to_string(), None);
    }
    for (key, text) in &first.keys {
        put(key, text, None);
    }
    if group.len() > 1 {
        let lists = queues.join(",");
        notes.push(format!(
            "{name}: {} are one app, and its queues one list in strict order ({lists}): while there are jobs of one, \
             those after it wait. Reorder them, or make two apps of one path, if that is not meant",
            sources.join(", ")
        ));
    }
    if processes == 1 {
        notes.push(format!(
            "{name}: {} had one process, so jobs ran one at a time. Under kqueue several run at once; jobs that must not \
             need Laravel's WithoutOverlapping, or max_concurrent_inline, max_concurrent_pooled and max_concurrent_isolated = 1 \
             (one of each)",
            first.source
        ));
    }
    for set in group {
        for (what, why) in &set.dropped {
            notes.push(format!("{name}: {what} of {}: {}", set.source, why.replace("APP", &name)));
        }
    }
    App {
        path: first.path.clone(),
        user: first.user.clone(),
        php: first.php.as_ref().map(PathBuf::from),
        php_args: first.php_args.split_whitespace().map(str::to_owned).collect(),
        name,
        draft,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_apps() {
        for (path, name) in [
            ("/srv/shop", "shop"),
            ("/srv/shop/current", "shop"),
            ("/home/forge/shop.com/current", "shop_com"),
            ("/var/www/html", "www"),
        ] {
            assert_eq!(base(Path::new(path)).unwrap(), name, "{path}");
        }
    }
}
