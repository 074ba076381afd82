//! The one table of the config file's keys.
//!
//! Parser, command line, example, man page and `config check` are made from it; so are [`Merged`] and the fields of
//! [`Settings`] of the keys' names. An entry is
//! `name: Shape, Default("text"), SetBy, [Reader, …];` under the key's help. `Default` is one of
//!
//! - `Is`: the text is the default, written as on the command line;
//! - `WorkedOut`: `resolve` fills it in where nobody has set it, and the text is what that is with ample memory;
//! - `None`: there is none, and the field is an `Option`; the text is an example;
//! - `EmptyIfUnset`: likewise, and the field is a list that is empty;
//! - `Required`: likewise, and somebody has to set it.

use std::path::PathBuf;

use super::error::Error;
use super::idle::IdleTime;
use super::key::{DefaultValue, Key, Reader, SetBy};
use super::raw::{Given, Origin};
use super::settings::{Ack, Crash, DefaultTier, LauncherKind, Limits, Pop, Start};
use super::shapes::{
    Backoff, Bytes, Capacity, Count, Megabytes, Name, Names, Shape, Time, TimeLimit, Timeout, Umask, Words,
};
use super::tables::{Said, Tables};
use super::weights::Weights;

/// The key of this name.
pub fn key(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

type ValueOf<S> = <S as Shape>::Value;

/// The place of a key's value in [`Merged`].
trait Slot {
    type Value;

    fn put(&mut self, given: Given<Self::Value>);

    fn origin(&self) -> Option<&Origin>;
}

/// Of a key with a default.
impl<T> Slot for Given<T> {
    type Value = T;

    fn put(&mut self, given: Given<T>) {
        *self = given;
    }

    fn origin(&self) -> Option<&Origin> {
        Some(&self.origin)
    }
}

/// Of a key that nobody may have set.
impl<T> Slot for Option<Given<T>> {
    type Value = T;

    fn put(&mut self, given: Given<T>) {
        *self = Some(given);
    }

    fn origin(&self) -> Option<&Origin> {
        self.as_ref().map(|given| &given.origin)
    }
}

/// The default of a key, which a test reads for each.
fn default_of<S: Shape>(key: &'static str, text: &str) -> Result<Given<S::Value>, Error> {
    let value = S::read(&S::literal(text)).ok_or_else(|| unset(key))?;
    Ok(Given { value, origin: Origin::Default })
}

pub(super) fn unset(key: &'static str) -> Error {
    Error::NoValue { key, fix: "add it to the config file".into() }
}

// What differs by the kind of default. The type of a slot:
macro_rules! slot {
    (Is, $shape:ty) => { Given<ValueOf<$shape>> };
    ($other:ident, $shape:ty) => { Option<Given<ValueOf<$shape>>> };
}

// The type of a setting:
macro_rules! setting {
    (None, $shape:ty) => { Option<ValueOf<$shape>> };
    ($other:ident, $shape:ty) => { ValueOf<$shape> };
}

// What a slot holds before anything is read:
macro_rules! initial {
    (Is, $shape:ty, $name:expr, $text:literal) => {
        default_of::<$shape>($name, $text)?
    };
    ($other:ident, $shape:ty, $name:expr, $text:literal) => {
        None
    };
}

// From a slot to a setting:
macro_rules! settle {
    (Is, $slot:expr, $name:expr) => {
        $slot.value
    };
    (None, $slot:expr, $name:expr) => {
        $slot.map(|given| given.value)
    };
    (EmptyIfUnset, $slot:expr, $name:expr) => {
        $slot.map(|given| given.value).unwrap_or_default()
    };
    ($other:ident, $slot:expr, $name:expr) => {
        $slot.ok_or_else(|| unset($name))?.value
    };
}

// From a setting back to a slot that is empty:
macro_rules! pin {
    (WorkedOut, $slot:expr, $value:expr) => {{
        $slot.get_or_insert_with(|| Given { value: $value.clone(), origin: Origin::Default });
    }};
    ($other:ident, $slot:expr, $value:expr) => {{
        let _ = (&$slot, &$value);
    }};
}

macro_rules! show {
    (None, $shape:ty, $value:expr) => {
        $value.as_ref().map_or(serde_json::Value::Null, <$shape as Shape>::show)
    };
    (EmptyIfUnset, $shape:ty, $value:expr) => {
        if $value.is_empty() { serde_json::Value::Null } else { <$shape as Shape>::show(&$value) }
    };
    ($other:ident, $shape:ty, $value:expr) => {
        <$shape as Shape>::show(&$value)
    };
}

macro_rules! documented {
    (Is, $text:literal) => {
        DefaultValue::Is($text)
    };
    (WorkedOut, $text:literal) => {
        DefaultValue::WorkedOut($text)
    };
    ($other:ident, $text:literal) => {
        DefaultValue::None($text)
    };
}

macro_rules! keys {
    ($($(#[doc = $doc:literal])+ $name:ident: $shape:ty, $kind:ident($text:literal), $by:ident, [$($reader:ident),+];)+) => {
        /// Values of file, command line and defaults put together; each knows where it was written.
        #[derive(Clone, Debug)]
        pub(crate) struct Merged {
            $($(#[doc = $doc])+ pub $name: slot!($kind, $shape),)+
            /// What the file says of classes and queues, and where.
            pub tables: (Tables, Vec<Said>),
        }

        impl Merged {
            /// The defaults.
            ///
            /// # Errors
            /// None, unless the table is at fault.
            pub fn defaults() -> Result<Self, Error> {
                Ok(Self { tables: Default::default(), $($name: initial!($kind, $shape, stringify!($name), $text),)+ })
            }

            /// The settings, once all that is worked out has been.
            ///
            /// # Errors
            /// A key that has no value and needs one.
            pub fn settle(self, app: String, limits: Limits) -> Result<Settings, Error> {
                Ok(Settings { app, limits, tables: self.tables.0, $($name: settle!($kind, self.$name, stringify!($name)),)+ })
            }
        }

        /// Everything that `kqueue run` needs to know of one app: every value present, checked, with its unit in its
        /// type.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Settings {
            /// The app's name: the instance name of its units.
            pub app: String,
            /// The limits of this run.
            pub limits: Limits,
            /// What the file says of classes and queues.
            pub tables: Tables,
            $($(#[doc = $doc])+ pub $name: setting!($kind, $shape),)+
        }

        /// Every key, in the order of the example file.
        pub static KEYS: &[Key] = &[$(Key {
            name: stringify!($name),
            doc: &[$($doc),+],
            default: documented!($kind, $text),
            set_by: SetBy::$by,
            readers: &[$(Reader::$reader),+],
            metavar: <$shape as Shape>::METAVAR,
            words: <$shape as Shape>::WORDS,
            switch: matches!(<$shape as Shape>::METAVAR.as_bytes(), b"BOOL"),
            literal: <$shape as Shape>::literal,
            want: <$shape as Shape>::want,
            set: |merged, raw, origin| {
                let value = <$shape as Shape>::read(raw);
                value.map(|value| merged.$name.put(Given { value, origin })).is_some()
            },
            pin: |merged, settings| pin!($kind, merged.$name, settings.$name),
            origin: |merged| merged.$name.origin(),
            show: |settings| show!($kind, $shape, settings.$name),
            differs: |one, other| one.$name != other.$name,
            keep: |settings, old| settings.$name.clone_from(&old.$name),
        }),+];
    };
}

keys! {
    /// The app's directory, the one that holds `artisan`. A symbolic link that deploys change, such as
    /// `/srv/shop/current`, is not resolved.
    path: PathBuf, Required("/srv/shop"), CommandLine, [Start, Worker, Root];
    /// The user that the app's PHP runs as under systemd; by default the owner of path.
    user: Name, None("www-data"), File, [Root];
    /// The group that the app's PHP runs as under systemd; by default the user's own.
    group: Name, None("www-data"), File, [Root];
    /// Let members of the group kqueue act (`kqueue pause` and similar commands); otherwise they may only read. The
    /// app's user and root may always act.
    operators: bool, Is("false"), File, [Live];
    /// Let jobs start setuid and setgid programs, such as sudo and most kinds of sendmail, under systemd. This lifts
    /// most of the restrictions on the app's units.
    setuid: bool, Is("false"), File, [Root];
    /// The PHP interpreter: a path, or a name that is looked up in PATH.
    php: PathBuf, Is("php"), CommandLine, [Start, Worker];
    /// Arguments for the interpreter, before the script.
    php_args: Words, Is(""), CommandLine, [Start, Worker];
    /// The queue connection, by its name in `config/queue.php`; by default the app's default connection.
    connection: Name, None("redis"), CommandLine, [Start];
    /// Queues in strict order; by default the connection's own queue.
    queues: Names, EmptyIfUnset("high,default"), App, [Live];
    /// The queues' shares of all starts: like `weight` in the table of each queue. Without any weight the order of
    /// `queues` is strict.
    weights: Weights, EmptyIfUnset("high:5,default:2"), App, [Live];
    /// What the jobs of one queue take turns by, such as the tenant: a key of the payload, the first part of a tag
    /// (`tenant_id:7`) or a property of the job. On Redis and in databases, jobs are also reserved out of order for
    /// this.
    fair_by: Name, None("tenant_id"), CommandLine, [Live];
    /// What starts PHP processes and limits their resources: "coordinator" (kqueue.service, through systemd), "user"
    /// (the user's own service manager), "process" (neither: plain child processes), or "auto" (the first of these that
    /// is available).
    launcher: LauncherKind, Is("auto"), CommandLine, [Start];
    /// How lanes and isolated jobs get their PHP process: "fork" (from a template process that has booted the app) or
    /// "spawn" (a new process each, for apps that cannot fork). Forked processes share the code compiled by opcache,
    /// unless php_args has `-d opcache.enable_cli=0`.
    start: Start, Is("fork"), CommandLine, [Start];
    /// Sockets and files that the app opens while it boots and that its forked processes may share, as named by the log
    /// and by `kqueue check`: sockets by their peer, files by their path. `*` matches any text. If the app opens
    /// anything else, each process boots the app's providers itself.
    fork_safe_peers: Names, EmptyIfUnset("127.0.0.1:4317,/run/agent.sock"), CommandLine, [Live];
    /// The file mode creation mask of the app's processes, in octal as a string; by default the one that the app's
    /// `artisan` sets, else the inherited one.
    umask: Umask, None("0002"), CommandLine, [Live];
    /// Tier of jobs that declare neither `isolated` nor `estimatedDuration` and need no more memory than a pooled
    /// worker has: "inline", "pooled", "isolated", or "auto" (kqueue chooses).
    default_tier: DefaultTier, Is("auto"), App, [Live];
    /// Jobs expected to take at most this run inline. The default is never above pooled_max_duration.
    inline_max_duration: Time<0>, Is("1s"), App, [Live];
    /// Jobs expected to take at most this run pooled; longer ones isolated. The default is never below
    /// inline_max_duration.
    pooled_max_duration: Time<0>, Is("30s"), App, [Live];
    /// Idle pooled workers kept warm. The default is never above pool_size.
    pool_min_idle: Capacity<0, 1000>, Is("2"), App, [Live];
    /// Time without a job after which the app sleeps: all PHP processes end, the runtime keeps watching the queue, and
    /// the next job starts PHP again. Pooled workers end after the same time without a pooled job. "never" keeps all
    /// processes. An app with native pop (workers pop jobs themselves) does not sleep, nor does one with Horizon.
    idle_after: IdleTime, Is("10min"), App, [Live];
    /// Maximum number of pooled workers under normal demand. The default is 10; with little memory, one for each 128 MB
    /// of it, but at least 2.
    pool_size: Capacity<1, 1000>, WorkedOut("10"), App, [Live];
    /// Maximum number of pooled workers under pressure. The default is twice pool_size, at most 20, and never below
    /// pool_size.
    pool_max_size: Capacity<1, 1000>, WorkedOut("20"), CommandLine, [Live, Worker, Root];
    /// Maximum number of concurrent inline jobs, and so of lanes.
    max_concurrent_inline: Capacity<1, 10000>, Is("100"), App, [Live];
    /// Maximum number of concurrent pooled jobs.
    max_concurrent_pooled: Capacity<1, 1000>, Is("20"), App, [Live];
    /// Maximum number of concurrent isolated jobs. A value above 128 must be set in the config file, where the
    /// coordinator reads it.
    max_concurrent_isolated: Capacity<1, 1000>, Is("5"), CommandLine, [Live, Root];
    /// Maximum number of reserved jobs that wait for their tier or for a limit while others pass them.
    max_waiting: Capacity<0, 1000000>, Is("256"), App, [Live];
    /// Maximum total size of the payloads of these waiting jobs.
    max_waiting_bytes: Bytes, Is("64M"), App, [Live];
    /// Maximum number of attempts of a job that declares none; 0 means no limit.
    tries: Count<0, { u32::MAX }>, Is("1"), App, [Live];
    /// Timeout of a job that declares none; 0 means no limit.
    timeout: Timeout, Is("60s"), App, [Live];
    /// Seconds before a retry of a job that declares no backoff; a list has one value per retry.
    backoff: Backoff, Is("0"), App, [Live];
    /// Run jobs in maintenance mode too.
    force: bool, Is("false"), App, [Live];
    /// Number of jobs after which a lane or pooled worker is replaced; 0 means no limit.
    worker_max_jobs: Count<0, { u32::MAX }>, Is("1000"), App, [Live];
    /// Age at which a lane or pooled worker is replaced; 0 means no limit.
    worker_max_time: Time<0>, Is("1h"), App, [Live];
    /// MB of PHP's heap above which a lane or pooled worker is replaced after a job.
    worker_memory: Megabytes<16>, Is("128"), App, [Live];
    /// MB of resident memory above which a lane or pooled worker is killed. The default is 512, or twice worker_memory
    /// if that is more.
    worker_memory_max: Megabytes<32>, WorkedOut("512"), CommandLine, [Live, Root];
    /// Memory limit under systemd, in MB, of the runtime, its template process and its lanes together. Without it, the
    /// limit is three quarters of the machine's memory.
    runtime_memory_max: Megabytes<128>, None("8G"), File, [Root];
    /// Memory limit, in MB, of an isolated job that declares no `maxMemory`.
    isolated_memory_max: Megabytes<32>, Is("512"), App, [Live];
    /// Upper bound, in MB, of an isolated job's memory limit, whatever it declares. Without it, the machine's memory is
    /// the bound.
    isolated_memory_cap: Megabytes<32>, None("4G"), CommandLine, [Live, Root];
    /// Maximum run time of an isolated job, whatever its timeout; 0 means no limit.
    isolated_time_cap: TimeLimit, Is("0"), CommandLine, [Live, Root];
    /// Maximum number of processes and threads of an isolated job; no job may request more.
    isolated_tasks_max: Count<1, 1000000>, Is("512"), CommandLine, [Live, Root];
    /// CPU weight of an isolated job, its share of busy processors; no job may request more. 100 is an equal share.
    isolated_cpu_weight: Count<1, 10000>, Is("100"), CommandLine, [Live, Root];
    /// IO weight of an isolated job, its share of busy disks; no job may request more. 100 is an equal share.
    isolated_io_weight: Count<1, 10000>, Is("100"), CommandLine, [Live, Root];
    /// What happens to a job whose PHP process died: "replay" (the cause is thrown inside Laravel at once) or "laravel"
    /// (the job stays reserved until `retry_after`).
    crash: Crash, Is("replay"), App, [Live];
    /// How jobs are popped from Redis: "safe" (a payload that is not a job is moved to the queue `NAME:broken`) or
    /// "strict" (Laravel's own script, which loses it). On SQS, "safe" hides it, and with "strict" Laravel removes it.
    pop: Pop, Is("safe"), App, [Start];
    /// What removes a finished job from the queue: "auto" (kqueue, in batches, where the effect is the same) or
    /// "laravel" (always Laravel).
    ack: Ack, Is("auto"), App, [Start];
    /// Renew a job's reservation while its process lives, so that `retry_after` never makes it run twice.
    renew: bool, Is("true"), App, [Live];
    /// Perform the tasks of Horizon's master if the app's queue is Horizon's: trim its indexes, keep its records (so
    /// that its dashboard shows kqueue), watch its waits, obey `horizon:pause`, `continue` and `terminate`.
    horizon: bool, Is("true"), App, [Live];
    /// Whether a job's properties and methods named `isolated`, `maxMemory`, `priority` and so on are hints for kqueue.
    /// Set it to false if the app uses such names for something else: then only attributes are hints.
    property_hints: bool, Is("true"), App, [Live];
    /// Grace period after a job's timeout, at the end of which kqueue kills its process.
    timeout_grace: Time<0>, Is("3s"), App, [Live];
    /// How long a PHP process may take to be ready.
    boot_timeout: Time<100>, Is("60s"), CommandLine, [Live, Root];
    /// How long running jobs may take on SIGTERM before they are killed.
    stop_timeout: Time<0>, Is("60s"), CommandLine, [Live, Root];
    /// Keep a history in `history.sqlite` in state_dir: the last jobs, statistics by class and queue for a month,
    /// restarts, deploys and outages. The file may be deleted at any time.
    history: bool, Is("true"), CommandLine, [Live];
    /// Number of attempts kept in history: this many of the last successful ones, and as many unsuccessful ones.
    history_jobs: Count<0, 1000000>, Is("10000"), CommandLine, [Live];
    /// Directory of the history and other persistent state. The default is $STATE_DIRECTORY; else `/var/lib/kqueue/APP`
    /// for root or if it is writable; else `kqueue/APP` in $XDG_STATE_HOME or `~/.local/state`.
    state_dir: PathBuf, WorkedOut("/var/lib/kqueue/shop"), CommandLine, [Start];
    /// Directory of the sockets. The default is $RUNTIME_DIRECTORY; else `/run/kqueue/APP` for root; else `kqueue/APP`
    /// in $XDG_RUNTIME_DIR, if that belongs to the user; else `~/.local/state/kqueue/.run/APP`; else
    /// `/tmp/kqueue-UID/APP`.
    runtime_dir: PathBuf, WorkedOut("/run/kqueue/shop"), CommandLine, [Start, Worker];
}
