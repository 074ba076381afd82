//! `kqueue alert`: tries the targets of an app's alerts, and tells that its runtime is down. It needs no runtime, and runs as
//! the app's user.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::{Args, ValueEnum};
use kqueue_config::{self as config, Loaded, Surroundings};
use kqueue_control::{self as control, Found, State};
use kqueue_core::alerts::{Change, Episode, Kind};
use serde_json::{Map, Value};

use crate::alert::{self, Message, Target};
use crate::cli::leave_root::{AsRoot, leave_root};
use crate::cli::see::{self, At};
use crate::cli::{FAILURE, Failed, complete, load, print, stdio, unit};

/// Between two looks at a runtime that is down.
const LOOK: Duration = Duration::from_secs(1);
/// For how long targets are told that it is.
const PATIENCE: Duration = Duration::from_secs(1800);

#[derive(Debug, Args)]
pub(in crate::cli) struct Asked {
    /// Name of the app
    #[arg(add = complete::apps())]
    app: String,
    #[command(flatten)]
    at: At,
    /// What to do: test sends a test message to each target; down reports that the runtime has failed unless it recovers,
    /// and is for kqueue-alert@APP.service
    #[arg(value_enum, hide_possible_values = true)]
    what: What,
    /// Only this target: command, webhook or mail
    #[arg(long, value_enum, hide_possible_values = true)]
    target: Option<Only>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    as_root: AsRoot,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// Send a test message to each target
    Test,
    /// Report that the runtime has failed unless it recovers: for kqueue-alert@APP.service
    Down,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Only {
    Command,
    Webhook,
    Mail,
}

impl Only {
    fn target(self) -> Target {
        match self {
            Only::Command => Target::Command,
            Only::Webhook => Target::Webhook,
            Only::Mail => Target::Mail,
        }
    }
}

pub(in crate::cli) fn run(asked: Asked, args: &[OsString]) -> Result<ExitCode, Failed> {
    let request = asked.at.request(Some(asked.app));
    if let Some(code) = leave_root(&request, asked.as_root, args)? {
        return Ok(code);
    }
    let loaded = load(&request)?;
    unit::check_user(&loaded)?;
    let _log = kqueue_system::log::init(&loaded.settings.app);
    match asked.what {
        What::Test => test(&loaded, asked.target, asked.json),
        What::Down => {
            let here = see::surroundings()?;
            see::wait(down(&loaded, &request, &here))??;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn epoch() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Tries the targets once each.
fn test(loaded: &Loaded, only: Option<Only>, json: bool) -> Result<ExitCode, Failed> {
    let (app, targets) = (&loaded.settings.app, loaded.settings.tables.alerts());
    let wanted = |target: &Target| only.is_none_or(|only| only.target() == *target) && target.is_in(&targets);
    let wanted: Vec<Target> = Target::ALL.into_iter().filter(wanted).collect();
    if wanted.is_empty() {
        let what = only.map_or("command, webhook or mail", |only| only.target().as_str());
        let line = format!("{app}: [alerts] sets no {what}; add one to the config file");
        return Err(Failed { code: FAILURE, line });
    }
    let (at, said) = (epoch(), "this is a test: nothing is wrong".to_owned());
    let episode = Episode { kind: Kind::Test, queue: String::new(), since: at, seen: at, said: said.clone(), base: 0 };
    let message = Message::new(app, &Change { begun: true, episode, text: said }, at);
    let told = see::wait(async {
        let mut told = Vec::new();
        for target in wanted {
            told.push((target, alert::tell(target, &targets, &message).await));
        }
        told
    })?;
    let whole = told.iter().all(|(_, told)| told.is_ok());
    let code = if whole { ExitCode::SUCCESS } else { ExitCode::from(FAILURE) };
    if json {
        let told: Map<String, Value> = told
            .into_iter()
            .map(|(target, told)| (target.as_str().to_owned(), told.err().map(|why| why.to_string()).into()))
            .collect();
        print(&format!("{:#}\n", Value::Object(told)))?;
        return Ok(code);
    }
    for (target, told) in told {
        match told {
            Ok(()) => print(&format!("{}: delivered\n", target.as_str()))?,
            Err(untold) => stdio::err(&format!("kqueue: {}: not delivered: {untold}", target.as_str())),
        }
    }
    Ok(code)
}

/// Waits for as long as the settings say, and tells that the runtime is down unless it works by then or was stopped.
async fn down(loaded: &Loaded, request: &config::Request, here: &Surroundings) -> Result<(), Failed> {
    let Some(most) = loaded.settings.tables.alerts().down else { return Ok(()) };
    let place = config::place(request, here)?;
    let begun = Instant::now();
    let why = loop {
        let why = match control::find(&place, here).await {
            Found::Told(told, _) if see::snapshot(&told).state != State::Starting => return Ok(()),
            Found::Told(..) => "it is still starting".to_owned(),
            Found::Stopped { failed: false, .. } if begun.elapsed() >= most => return Ok(()),
            Found::Stopped { why, .. } | Found::Dark { why, .. } => why,
            Found::Nobody => "no such app".to_owned(),
        };
        if begun.elapsed() >= most {
            break why;
        }
        tokio::time::sleep(LOOK.min(most)).await;
    };
    alert::down(&loaded.settings, epoch(), &why, |_| true, PATIENCE).await;
    Ok(())
}
