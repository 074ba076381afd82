//! One option for each key of the config file, made from its table, and the options of `queue:work` that
//! kqueue refuses, with the reason. Pure.

use std::sync::LazyLock;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};

use super::complete;
use kqueue_config::{DefaultValue, KEYS, Key, SetBy};

/// The options that `-h` lists; `--help` lists all.
const COMMON: &[&str] = &[
    "path",
    "php",
    "connection",
    "queues",
    "tries",
    "timeout",
    "backoff",
    "force",
    "worker_memory",
    "pool_size",
    "default_tier",
];

/// Options of `queue:work` that mean nothing here, and why.
const REFUSED: &[(&str, &str)] = &[
    ("sleep", "kqueue does not poll: a job starts as soon as it is dispatched"),
    ("rest", "kqueue does not pause between jobs; --max-concurrent-pooled and similar options limit the load"),
    ("daemon", "kqueue always runs as a daemon"),
    ("name", "the name of the app is the argument: `kqueue run APP`"),
];

/// Options as given: names of keys with text that the config's own parser will read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyFlags {
    /// Key and value.
    pub given: Vec<(&'static str, String)>,
    /// An option that is refused: its name, and why.
    refused: Option<(&'static str, &'static str)>,
}

impl KeyFlags {
    /// What to say of an option that is refused.
    pub fn refused(&self) -> Option<String> {
        self.refused.map(|(name, why)| format!("--{name}: not an option here: {why}; leave it out"))
    }
}

struct Flag {
    key: &'static Key,
    long: String,
    /// For `-h`.
    short_help: String,
    /// For `--help` and the man page.
    help: String,
}

/// clap wants text that outlives its commands.
static FLAGS: LazyLock<Vec<Flag>> = LazyLock::new(|| {
    let keys = KEYS.iter().filter(|key| key.set_by != SetBy::File);
    keys.map(|key| {
        let help = help(key);
        let ends = [". ", "; ", ": "].iter().filter_map(|end| help.find(end)).min().unwrap_or(help.len());
        let short_help = help[..ends].trim_end_matches('.').to_owned();
        Flag { key, long: key.name.replace('_', "-"), short_help, help }
    })
    .collect()
});

fn help(key: &Key) -> String {
    let text: Vec<&str> = key.doc.iter().map(|line| line.trim()).collect();
    let text = text.join(" ").replace('`', "");
    match key.default {
        DefaultValue::Is(default) if !default.is_empty() => format!("{text} [default: {default}]"),
        _ => text,
    }
}

impl Args for KeyFlags {
    fn augment_args(command: Command) -> Command {
        let mut command = command.next_help_heading("Settings (each is also a key of the config file)");
        for flag in FLAGS.iter() {
            // A negative number goes to the key's parser, which says what is wrong with it.
            let mut arg = Arg::new(flag.key.name)
                .long(flag.long.as_str())
                .value_name(flag.key.metavar)
                .help(flag.short_help.as_str())
                .long_help(flag.help.as_str())
                .hide_short_help(!COMMON.contains(&flag.key.name))
                .action(ArgAction::Set)
                .allow_negative_numbers(true);
            if !flag.key.words.is_empty() {
                arg = arg.add(complete::words(flag.key.words));
            }
            if let Some(alias) = flag.key.alias() {
                arg = arg.visible_alias(alias);
            }
            if flag.key.switch {
                arg = arg.num_args(0..=1).require_equals(true).default_missing_value("true");
            }
            if flag.key.metavar == "ARGS" {
                arg = arg.allow_hyphen_values(true);
            }
            command = command.arg(arg);
        }
        for (name, _) in REFUSED {
            command = command.arg(Arg::new(*name).long(*name).num_args(0..=1).hide(true));
        }
        command.next_help_heading(None::<&str>)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for KeyFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        // Said by whoever knows which command this is, with its usage.
        let refused = REFUSED.iter().find(|(name, _)| matches.contains_id(name)).copied();
        let given = FLAGS.iter().filter_map(|flag| {
            let text = matches.get_one::<String>(flag.key.name)?;
            Some((flag.key.name, text.clone()))
        });
        Ok(Self { given: given.collect(), refused })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
