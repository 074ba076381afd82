//! `kqueue top`: queues, tiers, processes and running jobs on a terminal, each second anew.
//!
//! What is shown is in [`state`], how in [`view`]; both know neither a clock nor a terminal. Here is the terminal, which
//! is put back as it was on every way out, and the task that asks.

mod grid;
mod panels;
mod rates;
mod state;
mod view;

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use crossterm::event::{Event, EventStream};
use futures_util::StreamExt;
use ratatui::DefaultTerminal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use super::see::{self, At, Target};
use super::{FAILURE, Failed, complete};
use kqueue_config::{self as config, Surroundings};
use kqueue_control::{self as control, AskError, Found, Metrics, Request};
use state::{Look, Top, Wish};

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(super) struct Ask {
    /// Name of the app; by default, a list of all apps to choose from
    #[arg(add = complete::apps())]
    app: Option<String>,
    #[command(flatten)]
    at: At,
}

/// The terminal, put back as it was when this is dropped. A panic puts it back too, by ratatui's hook.
struct Screen(DefaultTerminal);

impl Screen {
    fn open() -> io::Result<Self> {
        ratatui::try_init().map(Self)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // There is nobody to tell.
        let _ = ratatui::try_restore();
    }
}

pub(super) fn run(asked: Ask) -> Result<ExitCode, Failed> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        let line = "top needs a terminal, but standard input or output is none; kqueue status --watch needs none";
        return Err(Failed { code: FAILURE, line: line.to_owned() });
    }
    let here = see::surroundings()?;
    see::wait(show(asked, here))?
}

async fn show(asked: Ask, here: Surroundings) -> Result<ExitCode, Failed> {
    let app = match asked.app.is_some() || asked.at.names_one() {
        // What is wrong with it is told on the terminal as it was.
        true => Some(Target::find(&asked.at.request(asked.app), &here).await?.app),
        false => None,
    };
    let (wanted, wants) = watch::channel(app.clone());
    let (looks, mut seen) = mpsc::channel(4);
    tokio::spawn(look(asked.at, here, wants, looks));
    let broken = |error: io::Error| Failed::at("terminal", error);
    let mut signals = Signals::new().map_err(|error| Failed::at("signals", error))?;
    let mut top = Top::new(app, kqueue_system::log::has_colour(&io::stdout()));
    let mut screen = Screen::open().map_err(broken)?;
    let mut keys = EventStream::new();
    let start = Instant::now();
    loop {
        screen.0.draw(|frame| view::draw(frame, &top)).map_err(broken)?;
        let wish = tokio::select! {
            look = seen.recv() => {
                let Some(look) = look else { return Ok(ExitCode::SUCCESS) };
                top.see(look, u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX));
                Wish::Nothing
            }
            event = keys.next() => match event {
                Some(Ok(Event::Key(key))) => top.press(key),
                // It is drawn anew for the new size.
                Some(Ok(_)) => Wish::Nothing,
                Some(Err(error)) => return Err(broken(error)),
                None => Wish::Quit,
            },
            () = signals.any() => Wish::Quit,
        };
        match wish {
            Wish::Nothing => {}
            Wish::Quit => return Ok(ExitCode::SUCCESS),
            Wish::Open(app) => {
                let _ = wanted.send(Some(app));
            }
            Wish::Overview => {
                let _ = wanted.send(None);
            }
        }
    }
}

/// Signals that end programs on a terminal.
struct Signals([tokio::signal::unix::Signal; 3]);

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self([signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?]))
    }

    async fn any(&mut self) {
        let [one, two, three] = &mut self.0;
        tokio::select! {
            _ = one.recv() => {}
            _ = two.recv() => {}
            _ = three.recv() => {}
        }
    }
}

/// Looks each second, and at once where something else is wanted.
async fn look(at: At, here: Surroundings, mut wants: watch::Receiver<Option<String>>, looks: mpsc::Sender<Look>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut known = None;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            changed = wants.changed() => if changed.is_err() { return },
        }
        let app = wants.borrow_and_update().clone();
        let look = match app {
            Some(app) => one(&at, &app, &here, &mut known).await,
            None => all(&at, &here).await,
        };
        if looks.send(look).await.is_err() {
            return;
        }
    }
}

async fn all(at: &At, here: &Surroundings) -> Look {
    match see::all_places(at, here) {
        Ok(places) => Look::Apps(control::find_all(places, here).await),
        Err(failed) => Look::Trouble(failed.line),
    }
}

/// Asks one app where it has answered before; where it does not any more, it is looked for again.
async fn one(at: &At, app: &str, here: &Surroundings, known: &mut Option<Target>) -> Look {
    if known.as_ref().is_none_or(|target| target.app != app) {
        *known = None;
        match Target::find(&named(at, app), here).await {
            Ok(target) => *known = Some(target),
            Err(failed) => return Look::Trouble(failed.line),
        }
    }
    let Some(target) = known.as_ref() else { return Look::Trouble(format!("{app}: …")) };
    let told = control::ask(&target.socket).await;
    let metrics: Result<Metrics, AskError> = control::request(&target.socket, &Request::Metrics).await;
    match told {
        Ok(told) => Look::App(Box::new(see::snapshot(&told)), metrics.ok()),
        Err(_) => {
            *known = None;
            let found = match config::place(&named(at, app), here) {
                Ok(place) => control::find(&place, here).await,
                Err(error) => return Look::Trouble(error.to_string()),
            };
            match found {
                Found::Told(told, _) => Look::App(Box::new(see::snapshot(&told)), None),
                other => Look::Trouble(see::unanswered(app, &other).line),
            }
        }
    }
}

/// An app of the overview, or the one that was named, whose file or directory may say where it is.
fn named(at: &At, app: &str) -> config::Request {
    at.request(Some(app.to_owned()))
}
