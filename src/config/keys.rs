//! The one table of the config file's keys: name, meaning, default, what it takes, how it is shown.
//!
//! Parser, command line, example and `config check` are made from it. Pure.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::error::{At, Error};
use super::raw::{Given, Origin, Raw};
use super::settings::{Ack, Crash, DefaultTier, LauncherKind, Pop, Settings, Start};
use super::shapes::{Backoff, Bytes, Count, Megabytes, Name, Names, Shape, Time, Timeout, Umask, Words};

/// The default of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultValue {
    /// This, written as on the command line.
    Is(&'static str),
    /// Worked out from the machine or from other keys, as the key's text says; this where memory is ample
    /// and nothing else is set.
    WorkedOut(&'static str),
    /// None; this is an example of a value.
    None(&'static str),
}

impl DefaultValue {
    /// The default or the example, as text.
    pub fn text(self) -> &'static str {
        match self {
            DefaultValue::Is(text) | DefaultValue::WorkedOut(text) | DefaultValue::None(text) => text,
        }
    }
}

/// One key of the config file.
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What it is for, as lines of text.
    pub doc: &'static [&'static str],
    /// Its default.
    pub default: DefaultValue,
    /// What stands for a value in usage lines.
    pub metavar: &'static str,
    /// Whether it is a switch.
    pub switch: bool,
    /// The words that it takes, where these are few.
    pub words: &'static [&'static str],
    /// Reads text of the command line.
    pub(crate) literal: fn(&str) -> Raw,
    want: fn() -> String,
    set: fn(&mut Merged, &Raw, Origin) -> bool,
    origin: fn(&Merged) -> Option<&Origin>,
    show: fn(&Settings) -> Value,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("name", &self.name).field("default", &self.default).finish_non_exhaustive()
    }
}

impl Key {
    /// Takes `raw` over into `merged`, in place of what was there.
    ///
    /// # Errors
    /// [`Error::Value`] where the key does not take it.
    pub(crate) fn set(&self, merged: &mut Merged, raw: &Raw, origin: Origin) -> Result<(), Error> {
        if (self.set)(merged, raw, origin.clone()) {
            return Ok(());
        }
        let at = At { key: self.name, origin };
        let example = (self.literal)(self.default.text());
        let fix = match &at.origin {
            Origin::Flag => at.spell(self.default.text()),
            _ => at.spell(example),
        };
        if matches!(raw, Raw::Text(text) if text.trim().is_empty()) {
            return Err(Error::Empty { at, want: (self.want)(), fix });
        }
        Err(Error::Value { at, what: format!("expected {}, got {raw}", (self.want)()), fix })
    }

    /// Where the value in `merged` was written; `None` where there is no value.
    pub fn origin<'m>(&self, merged: &'m Merged) -> Option<&'m Origin> {
        (self.origin)(merged)
    }

    /// The value in use: null where there is none, seconds for a duration, MB or bytes for a size.
    /// Written into a file as TOML it is read as the same value.
    pub fn show(&self, settings: &Settings) -> Value {
        (self.show)(settings)
    }

    /// The default or example as TOML.
    pub fn example(&self) -> String {
        (self.literal)(self.default.text()).to_string()
    }

    /// What values it takes, in words.
    pub fn takes(&self) -> String {
        (self.want)()
    }

    /// The name that users of `queue:work` know it by.
    pub fn alias(&self) -> Option<&'static str> {
        match self.name {
            "queues" => Some("queue"),
            "worker_memory" => Some("memory"),
            _ => None,
        }
    }
}

/// The key of this name.
pub fn key(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

macro_rules! keys {
    ($($(#[doc = $doc:literal])+ $name:ident: $shape:ty, $default:ident($text:literal), $show:expr;)+) => {
        /// Values of file, command line and defaults put together; each knows where it was written.
        #[derive(Clone, Debug, Default)]
        #[allow(missing_docs)] // The docs are the table's, which carries them to the example and to --help.
        pub struct Merged {
            $($(#[doc = $doc])+ pub(crate) $name: Option<Given<$shape>>,)+
        }

        /// Every key, in the order of the example file.
        pub static KEYS: &[Key] = &[$(Key {
            name: stringify!($name),
            doc: &[$($doc),+],
            default: DefaultValue::$default($text),
            metavar: <$shape as Shape>::METAVAR,
            words: <$shape as Shape>::WORDS,
            switch: matches!(<$shape as Shape>::METAVAR.as_bytes(), b"BOOL"),
            literal: <$shape as Shape>::literal,
            want: <$shape as Shape>::want,
            set: |merged, raw, origin| match <$shape as Shape>::read(raw) {
                Some(value) => {
                    merged.$name = Some(Given { value, origin });
                    true
                }
                None => false,
            },
            origin: |merged| merged.$name.as_ref().map(|given| &given.origin),
            show: $show,
        }),+];
    };
}

impl Merged {
    /// `user`, where it is set.
    pub fn user(&self) -> Option<&str> {
        self.user.as_ref().map(|given| given.value.0.as_str())
    }

    /// `group`, where it is set.
    pub fn group(&self) -> Option<&str> {
        self.group.as_ref().map(|given| given.value.0.as_str())
    }
}

fn secs(duration: Duration) -> Value {
    match duration.subsec_nanos() {
        0 => json!(duration.as_secs()),
        _ => json!(duration.as_secs_f64()),
    }
}

keys! {
    /// The app's directory, the one that holds `artisan`. A link that a deploy moves, such as
    /// `/srv/shop/current`, is kept as it is.
    path: PathBuf, None("/srv/shop"), |s| json!(s.path);
    /// The user that the app's PHP runs as under systemd; the owner of path where there is none.
    user: Name, None("www-data"), |_| Value::Null;
    /// The group that the app's PHP runs as under systemd; the user's own where there is none.
    group: Name, None("www-data"), |_| Value::Null;
    /// Let jobs start programs that are setuid or setgid, such as sudo and most kinds of sendmail, under
    /// systemd. It turns off most of what the app's units are not allowed to do.
    setuid: bool, Is("false"), |_| Value::Null;
    /// The PHP interpreter: a path, or a name that is looked up in PATH.
    php: PathBuf, Is("php"), |s| json!(s.php);
    /// Arguments for the interpreter, before the script.
    php_args: Words, Is(""), |s| json!(s.php_args);
    /// The queue connection, by its name in `config/queue.php`; the app's default where there is none.
    connection: Name, None("redis"), |s| json!(s.connection);
    /// Queues in strict order; the connection's own where there are none.
    queues: Names, None("high,default"), |s| if s.queues.is_empty() { Value::Null } else { json!(s.queues) };
    /// Who starts PHP processes and keeps them within bounds: "coordinator" (kqueue.service, which asks
    /// systemd), "user" (the user's own service manager), "process" (nobody: plain children), or "auto" (the
    /// first of these that is there).
    launcher: LauncherKind, Is("auto"), |s| json!(s.launcher.as_str());
    /// How lanes and isolated jobs get their PHP process: "fork" (from a template that has booted the
    /// app) or "spawn" (a new process each, for apps that cannot fork).
    start: Start, Is("fork"), |s| json!(s.start.as_str());
    /// What the app opens while it boots and what its forked processes may share, by the names that the log and `kqueue
    /// check` give: sockets by their peer, files by their path. A `*` stands for anything. Where the app opens
    /// anything else, each process boots the app's providers itself.
    fork_safe_peers: Names, None("127.0.0.1:4317,/run/agent.sock"), |s| if s.fork_safe_peers.is_empty() { Value::Null } else { json!(s.fork_safe_peers) };
    /// The file mode creation mask of the app's processes, in octal as a string; what the app's `artisan` sets, else
    /// what they inherit, where there is none.
    umask: Umask, None("0002"), |s| s.umask.map_or(Value::Null, |umask| json!(format!("{umask:04o}")));
    /// Where jobs run that declare neither `isolated` nor `estimatedDuration`, nor more memory than a pooled
    /// worker has: "inline", "pooled", "isolated", or "auto" (kqueue finds out where they belong).
    default_tier: DefaultTier, Is("auto"), |s| json!(s.tiers.default_tier.as_str());
    /// Jobs expected to take at most this run inline. Never above pooled_max_duration by default.
    inline_max_duration: Time<0>, Is("1s"), |s| secs(s.tiers.inline_max_duration);
    /// Jobs expected to take at most this run pooled; longer ones isolated. Never below
    /// inline_max_duration by default.
    pooled_max_duration: Time<0>, Is("30s"), |s| secs(s.tiers.pooled_max_duration);
    /// Idle pooled workers kept warm. Never above pool_size by default.
    pool_min_idle: Count<0, 1000>, Is("2"), |s| json!(s.tiers.pool_min_idle);
    /// Pooled workers grown to with demand. The default is 10, less where memory is small: a worker for
    /// each 128 MB of it, but 2 at the least.
    pool_size: Count<1, 1000>, WorkedOut("10"), |s| json!(s.tiers.pool_size);
    /// Pooled workers grown to under pressure. The default is twice pool_size, 20 at the most, and never
    /// below pool_size.
    pool_max_size: Count<1, 1000>, WorkedOut("20"), |s| json!(s.tiers.pool_max_size);
    /// Lanes at the most: inline jobs at once.
    max_concurrent_inline: Count<1, 10000>, Is("100"), |s| json!(s.tiers.max_concurrent_inline);
    /// Pooled jobs at once.
    max_concurrent_pooled: Count<1, 1000>, Is("20"), |s| json!(s.tiers.max_concurrent_pooled);
    /// Isolated jobs at once. More than 128 have to be in this file: the coordinator goes by it.
    max_concurrent_isolated: Count<1, 1000>, Is("5"), |s| json!(s.tiers.max_concurrent_isolated);
    /// Reserved jobs that may wait for their tier while others flow past.
    max_waiting: Count<0, 1000000>, Is("256"), |s| json!(s.tiers.max_waiting);
    /// Bytes of their payloads.
    max_waiting_bytes: Bytes, Is("64M"), |s| json!(s.tiers.max_waiting_bytes);
    /// Attempts before a job fails, where the job does not say; 0 is without limit.
    tries: Count<0, { u32::MAX }>, Is("1"), |s| json!(s.work.tries);
    /// How long a job may run, where the job does not say; 0 is without limit.
    timeout: Timeout, Is("60s"), |s| secs(s.work.timeout.unwrap_or_default());
    /// Seconds before a retry, where the job does not say; several are for one retry after the other.
    backoff: Backoff, Is("0"), |s| json!(s.work.backoff);
    /// Run jobs in maintenance mode too.
    force: bool, Is("false"), |s| json!(s.work.force);
    /// Jobs before a lane or pooled worker is replaced; 0 is without limit.
    worker_max_jobs: Count<0, { u32::MAX }>, Is("1000"), |s| json!(s.recycle.max_jobs);
    /// Age at which it is replaced; 0 is without limit.
    worker_max_time: Time<0>, Is("1h"), |s| secs(s.recycle.max_time);
    /// MB of PHP's heap above which it is replaced after a job.
    worker_memory: Megabytes<16>, Is("128"), |s| json!(s.recycle.memory_mb);
    /// MB of resident memory above which a lane or pooled worker is killed. The default is 512, or twice
    /// worker_memory where that is more.
    worker_memory_max: Megabytes<32>, WorkedOut("512"), |s| json!(s.recycle.memory_max_mb);
    /// MB that the runtime, its template and its lanes may have together under systemd. Where it is not set, three
    /// quarters of the machine's memory.
    runtime_memory_max: Megabytes<128>, None("8G"), |_| Value::Null;
    /// MB for an isolated job that declares no `maxMemory`.
    isolated_memory_max: Megabytes<32>, Is("512"), |s| json!(s.recycle.isolated_memory_max_mb);
    /// MB that no isolated job gets more of, whatever it declares. Without it the machine's memory is the bound.
    isolated_memory_cap: Megabytes<32>, None("4G"), |s| json!(s.isolated.memory_mb);
    /// How long an isolated job may run at the most, whatever its timeout; 0 is without limit.
    isolated_time_cap: Time<0>, Is("0"), |s| secs(s.isolated.time.unwrap_or_default());
    /// Processes and threads that an isolated job may have; no job may ask for more.
    isolated_tasks_max: Count<1, 1000000>, Is("512"), |s| json!(s.isolated.tasks_max);
    /// Share of the processors that an isolated job gets where they are busy; no job may ask for more. 100
    /// is an equal share.
    isolated_cpu_weight: Count<1, 10000>, Is("100"), |s| json!(s.isolated.cpu_weight);
    /// Share of the disks, likewise.
    isolated_io_weight: Count<1, 10000>, Is("100"), |s| json!(s.isolated.io_weight);
    /// What happens to a job whose PHP process died under it: "replay" (the true cause is thrown inside
    /// Laravel at once) or "laravel" (it stays reserved until `retry_after`).
    crash: Crash, Is("replay"), |s| json!(s.crash.as_str());
    /// How jobs are taken off Redis: "safe" (a payload that is no job is set aside on `NAME:broken`) or
    /// "strict" (Laravel's own script, which loses it).
    pop: Pop, Is("safe"), |s| json!(s.pop.as_str());
    /// Who removes a finished job from the queue: "auto" (kqueue, in batches, where that is the same) or
    /// "laravel" (always Laravel).
    ack: Ack, Is("auto"), |s| json!(s.ack.as_str());
    /// Renew a job's reservation while its process lives, so that `retry_after` never runs it twice.
    renew: bool, Is("true"), |s| json!(s.renew);
    /// Do what Horizon's master would, where the app's queue is Horizon's: trim its indexes, keep its records (so that
    /// its dashboard shows kqueue), watch its waits, obey `horizon:pause`, `continue` and `terminate`.
    horizon: bool, Is("true"), |s| json!(s.horizon);
    /// Whether a job's properties and methods called `isolated`, `maxMemory`, `priority` and so on are hints for kqueue.
    /// An app that has such properties with a meaning of its own says false: then attributes alone count.
    property_hints: bool, Is("true"), |s| json!(s.property_hints);
    /// How far a job may run past its timeout before its process is killed from outside.
    timeout_grace: Time<0>, Is("3s"), |s| secs(s.timeout_grace);
    /// How long a PHP process may take to be ready.
    boot_timeout: Time<100>, Is("60s"), |s| secs(s.boot_timeout);
    /// How long running jobs may take on SIGTERM before they are killed.
    stop_timeout: Time<0>, Is("60s"), |s| secs(s.stop_timeout);
    /// Where history is kept. The default is $STATE_DIRECTORY; else `/var/lib/kqueue/APP` for root or where
    /// it can be written; else `kqueue/APP` in $XDG_STATE_HOME or `~/.local/state`.
    state_dir: PathBuf, WorkedOut("/var/lib/kqueue/shop"), |s| json!(s.state_dir);
    /// Where the sockets are. The default is $RUNTIME_DIRECTORY; else `/run/kqueue/APP` for root; else
    /// `kqueue/APP` in $XDG_RUNTIME_DIR, if that is the user's own; else `~/.local/state/kqueue/.run/APP`; else
    /// `/tmp/kqueue-UID/APP`.
    runtime_dir: PathBuf, WorkedOut("/run/kqueue/shop"), |s| json!(s.runtime_dir);
}
