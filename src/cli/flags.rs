//! One option for each key of the config file, made from its table, and the options of `queue:work` that
//! kqueue refuses, with the reason. Pure.

use std::sync::LazyLock;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};

use crate::config::{DefaultValue, KEYS, Key};

/// Keys that only the generator of units reads: a running process cannot change its user, nor what it may do.
pub(super) const FILE_ONLY: &[&str] = &["user", "group", "setuid"];

/// Options of `queue:work` that mean nothing here, and why.
const REFUSED: &[(&str, &str)] = &[
    ("sleep", "kqueue does not poll: a job starts as soon as it is dispatched"),
    ("rest", "kqueue does not pause between jobs; --max-concurrent-pooled and its like limit the load"),
    ("daemon", "kqueue always is one"),
    ("name", "the name of the app is the argument: `kqueue run APP`"),
];

/// Options as given: names of keys with text that the config's own parser will read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyFlags(pub Vec<(&'static str, String)>);

struct Flag {
    key: &'static Key,
    long: String,
    help: String,
}

/// clap wants text that outlives its commands.
static FLAGS: LazyLock<Vec<Flag>> = LazyLock::new(|| {
    let keys = KEYS.iter().filter(|key| !FILE_ONLY.contains(&key.name));
    keys.map(|key| Flag { key, long: key.name.replace('_', "-"), help: help(key) }).collect()
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
        let mut command = command.next_help_heading("Settings (each is a key of the config file too)");
        for flag in FLAGS.iter() {
            // A negative number goes to the key's parser, which says what is wrong with it.
            let mut arg = Arg::new(flag.key.name)
                .long(flag.long.as_str())
                .value_name(flag.key.metavar)
                .help(flag.help.as_str())
                .action(ArgAction::Set)
                .allow_negative_numbers(true);
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
        for (name, why) in REFUSED {
            if matches.contains_id(name) {
                let text = format!("--{name}: not an option here: {why}; leave it out");
                return Err(Error::raw(ErrorKind::UnknownArgument, text));
            }
        }
        let given = FLAGS.iter().filter_map(|flag| {
            let text = matches.get_one::<String>(flag.key.name)?;
            Some((flag.key.name, text.clone()))
        });
        Ok(Self(given.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
