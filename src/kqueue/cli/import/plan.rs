//! Plans config files from what works the queues today: which sets become one app, and the value of each setting. Pure.
//!
//! kqueue's settings are per app, not per queue: a set that differs in more than its queues and its number of processes
//! becomes an app of its own, with the same directory.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::cli::command::Why;
use kqueue_config::{self as config, Draft};

/// A location in a file: `shop.conf:12`. Empty if there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct At {
    pub file: String,
    pub line: Option<usize>,
}

impl At {
    pub fn new(file: &str, line: usize) -> Self {
        Self { file: file.to_owned(), line: Some(line) }
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}", self.file),
            None => f.write_str(&self.file),
        }
    }
}

/// A unit of import that starts processes for some queues of one app: a supervisord program, a Horizon supervisor.
#[derive(Clone, Debug, Default)]
pub(super) struct Set {
    pub name: String,
    /// Its name in its file.
    pub source: String,
    pub at: At,
    pub path: PathBuf,
    pub user: Option<String>,
    pub group: Option<String>,
    pub php: Option<String>,
    pub php_args: Vec<String>,
    pub connection: Option<String>,
    pub queues: Option<Vec<String>>,
    /// Maximum processes; unused if it runs the schedule.
    pub processes: u32,
    /// Minimum processes, if given.
    pub least: Option<u32>,
    /// It runs the app's schedule, and works no queue.
    pub schedule: bool,
    /// Further keys, with their values.
    pub keys: Vec<(&'static str, String)>,
    /// What is not carried over.
    pub dropped: Vec<Dropped>,
}

/// Something that is not carried over, its location, and why.
#[derive(Clone, Debug)]
pub(super) struct Dropped {
    what: String,
    at: Option<At>,
    why: Reason,
}

#[derive(Clone, Debug)]
enum Reason {
    /// A fixed text, with `{app}` for the app's name.
    Fixed(Why),
    /// A key's error about its value.
    Told(String),
}

/// Why an option of `queue:work` has no equivalent.
pub(super) fn why_not(option: &str) -> Why {
    match option {
        "sleep" => "kqueue does not poll: a job starts as soon as it is dispatched",
        "rest" => "kqueue does not pause between jobs; max_concurrent_pooled and similar keys limit the load",
        "once" | "stop-when-empty" => "the unit runs continuously; for a timer, `kqueue run APP` takes the same option",
        "env" | "environment" => "set APP_ENV in .env",
        _ => "kqueue has no such option",
    }
}

impl Set {
    /// Sets a key from the option `from`. A value that the key rejects is noted as dropped.
    pub fn key(&mut self, key: &'static str, text: &str, from: &str) {
        match Draft::default().set(key, text, None) {
            Ok(()) => {
                self.keys.retain(|(there, _)| *there != key);
                self.keys.push((key, text.to_owned()));
            }
            Err(error) => {
                let why = Reason::Told(error.to_string());
                self.dropped.push(Dropped { what: from.to_owned(), at: None, why });
            }
        }
    }

    /// Notes that something is not carried over.
    pub fn drop(&mut self, what: &str, why: Why) {
        self.dropped.push(Dropped { what: what.to_owned(), at: None, why: Reason::Fixed(why) });
    }

    /// The same, for something outside of the command.
    pub fn drop_at(&mut self, what: &str, at: At, why: Why) {
        self.dropped.push(Dropped { what: what.to_owned(), at: Some(at), why: Reason::Fixed(why) });
    }

    /// Its name in notes.
    pub fn called(&self) -> String {
        if self.at == At::default() { self.source.clone() } else { format!("{} ({})", self.source, self.at) }
    }

    /// Whether both can be one app, apart from their queues.
    fn goes_with(&self, other: &Self) -> bool {
        let keys = |set: &Self| {
            let mut draft = Draft::default();
            set.keys.iter().for_each(|(key, text)| drop(draft.set(key, text, None)));
            draft.text()
        };
        let who = |set: &Self| {
            let php = (set.php.clone(), set.php_args.clone());
            (set.path.clone(), set.user.clone(), set.group.clone(), php, set.connection.clone())
        };
        who(self) == who(other) && keys(self) == keys(other)
    }

    fn order(&self) -> Vec<String> {
        self.queues.clone().unwrap_or_else(|| vec!["default".to_owned()])
    }
}

/// Merges lists into one that keeps the order of each; `None` if they contradict each other.
fn merged<'a>(lists: impl Iterator<Item = &'a [String]> + Clone) -> Option<Vec<String>> {
    let mut out: Vec<String> = Vec::new();
    let mut left: Vec<&String> = Vec::new();
    for queue in lists.clone().flatten() {
        if !left.contains(&queue) {
            left.push(queue);
        }
    }
    while !left.is_empty() {
        // The first queue whose predecessors in every list are already taken.
        let free = |queue: &String| {
            lists.clone().all(|list| {
                let at = list.iter().position(|other| other == queue);
                list.iter().take(at.unwrap_or(0)).all(|other| out.contains(other) || other == queue)
            })
        };
        let at = left.iter().position(|queue| free(queue))?;
        out.push(left.remove(at).clone());
    }
    Some(out)
}

/// A config file to write.
#[derive(Clone, Debug)]
pub(in crate::cli) struct App {
    pub name: String,
    pub path: PathBuf,
    pub user: Option<String>,
    pub php: Option<PathBuf>,
    pub php_args: Vec<String>,
    pub draft: Draft,
}

/// Makes apps of sets; `notes` receives what they do not carry over.
///
/// # Errors
/// An invalid `name`, or a path from which no name can be derived.
pub(super) fn apps(sets: Vec<Set>, name: Option<&str>, notes: &mut Vec<String>) -> Result<Vec<App>, config::Error> {
    let (schedules, sets): (Vec<Set>, Vec<Set>) = sets.into_iter().partition(|set| set.schedule);
    let mut groups: Vec<Vec<Set>> = Vec::new();
    let mut reversed: Vec<String> = Vec::new();
    for set in sets.into_iter().filter(|set| set.processes > 0) {
        let order = set.order();
        let mut contradicts = false;
        let fits = groups.iter_mut().find(|group| {
            let alike = group.first().is_some_and(|first| first.goes_with(&set));
            let lists: Vec<Vec<String>> = group.iter().map(Set::order).chain([order.clone()]).collect();
            let fits = alike && merged(lists.iter().map(Vec::as_slice)).is_some();
            contradicts |= alike && !fits;
            fits
        });
        match fits {
            Some(group) => group.push(set),
            None => {
                if contradicts {
                    reversed.push(set.called());
                }
                groups.push(vec![set]);
            }
        }
    }
    // An app with only a schedule needs a config file too, for its path and user.
    for set in &schedules {
        if !groups.iter().flatten().any(|other| other.path == set.path) {
            groups.push(vec![Set { processes: 0, ..set.clone() }]);
        }
    }
    let mut apps: Vec<App> = Vec::new();
    for group in groups {
        let Some(first) = group.first() else { continue };
        let base = match name {
            Some(name) => config::check_name(name)?,
            None => base(&first.path)?,
        };
        let taken = apps.iter().find(|app| app.name == base);
        let name = match taken {
            None => base,
            Some(other) => {
                let own = free_name(&base, &first.name, &apps)?;
                notes.push(if other.path != first.path {
                    format!(
                        "{own}: the app in {}; the app in {} has the name {base}",
                        first.path.display(),
                        other.path.display()
                    )
                } else if reversed.contains(&first.called()) {
                    format!(
                        "{own}: a separate app, because {} takes queues in another order than {base}, and an app has \
                         only one order",
                        first.called()
                    )
                } else {
                    format!(
                        "{own}: a separate app, because {} has other settings than {base}, and settings apply to all \
                         jobs of an \
                         app. Jobs that set $timeout and $tries themselves do not need it",
                        first.called()
                    )
                });
                own
            }
        };
        apps.push(app(name, first, &group, notes));
    }
    for set in &schedules {
        let Some(app) = apps.iter().find(|app| app.path == set.path) else { continue };
        let name = &app.name;
        notes.push(format!(
            "{name}: {} runs the schedule; to run it as the app's user: systemctl enable --now \
             kqueue-schedule@{name}.timer",
            set.called()
        ));
    }
    Ok(apps)
}

/// An unused name, made of the app's and the program's, within the maximum length.
fn free_name(base: &str, program: &str, apps: &[App]) -> Result<String, config::Error> {
    let whole = config::name_of(Path::new(&format!("{base}_{program}").replace('/', "_")))?;
    let free = |name: &str| apps.iter().all(|app| app.name != name);
    let mut name = whole.clone();
    let mut number = 1;
    while !free(&name) {
        number += 1;
        let end = format!("_{number}");
        name = whole.chars().take(32 - end.len()).collect::<String>() + &end;
    }
    Ok(name)
}

/// The name for the app in a directory; skips parts such as the link that a deploy moves.
fn base(path: &Path) -> Result<String, config::Error> {
    let passing = ["current", "release", "releases", "live", "app", "html", "public_html", "httpdocs"];
    let named = path.ancestors().find(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        !passing.contains(&name.as_ref()) && !name.is_empty()
    });
    config::name_of(named.unwrap_or(path))
}

fn app(name: String, first: &Set, group: &[Set], notes: &mut Vec<String>) -> App {
    let mut sources: Vec<String> = group.iter().map(Set::called).collect();
    sources.dedup();
    let sources = sources.join(", ");
    let mut draft = Draft::default();
    let mut put = |key: &str, text: &str, why: Option<String>| {
        if let Err(error) = draft.set(key, text, why) {
            notes.push(format!("{name}: {error}; left out"));
        }
    };
    put("path", &first.path.to_string_lossy(), None);
    let texts =
        [("user", &first.user), ("group", &first.group), ("php", &first.php), ("connection", &first.connection)];
    for (key, value) in texts {
        if let Some(value) = value {
            put(key, value, None);
        }
    }
    if !first.php_args.is_empty() {
        put("php_args", &first.php_args.join(" "), None);
    }
    let mut queues = Vec::new();
    if group.iter().any(|set| set.queues.is_some()) {
        let lists: Vec<Vec<String>> = group.iter().map(Set::order).collect();
        queues = merged(lists.iter().map(Vec::as_slice)).unwrap_or_default();
        put("queues", &queues.join(","), Some(format!("From {sources}.")));
    }
    let processes = group.iter().fold(0_u32, |sum, set| sum.saturating_add(set.processes));
    if processes > 0 {
        let pool =
            Some(format!("As many processes as {sources} had. Quick and long jobs run in additional processes."));
        if let Some(least) =
            group.iter().map(|set| set.least).try_fold(0_u32, |sum, least| Some(sum.saturating_add(least?)))
        {
            put("pool_min_idle", &least.min(processes).to_string(), None);
        }
        put("pool_size", &processes.to_string(), pool);
        put("pool_max_size", &processes.to_string(), None);
        if processes > 20 {
            put("max_concurrent_pooled", &processes.to_string(), None);
        }
    }
    for (key, text) in &first.keys {
        put(key, text, None);
    }
    if let Some(connection) = &first.connection
        && let Some(note) = of_connection(connection)
    {
        notes.push(format!("{name}: connection {connection} of {}: {note}", first.called()));
    }
    if !queues.is_empty()
        && let Some(set) = group.iter().find(|set| set.queues.is_none())
    {
        notes.push(format!(
            "{name}: {} sets no queue; using \"default\": check the default queue of its connection in \
             config/queue.php",
            set.called()
        ));
    }
    if queues.len() > 1 && group.len() > 1 {
        let lists = queues.join(",");
        notes.push(format!(
            "{name}: {sources} became one app, with its queues in strict order ({lists}): while a queue has jobs, the \
             queues after it wait. If that is not intended, reorder them, or make two apps with the same path"
        ));
    }
    if processes == 1 {
        notes.push(format!(
            "{name}: {} had one process, so jobs ran one at a time. kqueue runs several at once; jobs that must not \
             overlap \
             need Laravel's WithoutOverlapping, or max_concurrent_inline, max_concurrent_pooled and max_concurrent_isolated = 1 \
             (one of each)",
            first.called()
        ));
    }
    // Sets of one program have the same notes.
    let mut told: Vec<String> = Vec::new();
    for set in group {
        for Dropped { what, at, why } in &set.dropped {
            let why = match why {
                Reason::Fixed(why) => why.replace("{app}", &name),
                Reason::Told(why) => why.clone(),
            };
            let called = Set {
                at: at.clone().unwrap_or_else(|| set.at.clone()),
                ..Set { source: set.source.clone(), ..Set::default() }
            }
            .called();
            let note = format!("{name}: {what} of {called}: {why}");
            if !told.contains(&note) {
                told.push(note);
            }
        }
    }
    notes.append(&mut told);
    App {
        path: first.path.clone(),
        user: first.user.clone(),
        php: first.php.as_ref().map(PathBuf::from),
        php_args: first.php_args.clone(),
        name,
        draft,
    }
}

/// A note on a connection, judged by its name alone.
fn of_connection(connection: &str) -> Option<String> {
    match connection {
        "redis" | "database" | "sqs" | "mysql" | "mariadb" | "pgsql" => None,
        "sync" | "null" | "deferred" | "background" => Some("it has no queue to work".into()),
        "beanstalkd" | "rabbitmq" | "mongodb" | "failover" | "kafka" | "pubsub" | "azure" => {
            Some("its workers take jobs off the queue by themselves; `kqueue check` lists what differs".into())
        }
        _ => Some("not one of Laravel's own; `kqueue check` reports how kqueue works it".into()),
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

    #[test]
    fn no_two_apps_have_one_file() {
        let set = |path: &str, name: &str| Set { path: path.into(), name: name.into(), processes: 1, ..Set::default() };
        let long = "a-program-with-a-very-long-name-indeed";
        let sets = vec![
            set("/srv/a/shop", "w"),
            set("/srv/b/shop", "w"),
            set("/srv/c/shop", "w"),
            set("/srv/d/shop", long),
            set("/srv/e/shop", long),
        ];
        let mut names: Vec<String> =
            apps(sets, None, &mut Vec::new()).unwrap().into_iter().map(|app| app.name).collect();
        assert!(names.iter().all(|name| name.len() <= 32), "{names:?}");
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 5, "{names:?}");
    }

    #[test]
    fn one_order_of_several() {
        let order = |lists: &[&str]| {
            let lists: Vec<Vec<String>> =
                lists.iter().map(|list| list.split(',').map(str::to_owned).collect()).collect();
            merged(lists.iter().map(Vec::as_slice)).map(|list| list.join(","))
        };
        assert_eq!(order(&["a", "b"]).as_deref(), Some("a,b"));
        assert_eq!(order(&["a,b", "c,b"]).as_deref(), Some("a,c,b"));
        assert_eq!(order(&["a,b", "b,c", "a,c"]).as_deref(), Some("a,b,c"));
        assert_eq!(order(&["a,a"]).as_deref(), Some("a"));
        assert_eq!(order(&["a,b", "b,a"]), None);
        assert_eq!(order(&["a,b", "b,c", "c,a"]), None);
    }
}
