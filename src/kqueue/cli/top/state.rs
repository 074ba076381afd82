//! The state of the screen, and the effect of keys. Pure: data comes in with its time.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use kqueue_control::{Found, Metrics, Snapshot};

use super::grid::{Grid, Order};
use super::panels;
use super::rates::{Rates, by_process, by_queue};

/// Maximum characters of a filter.
const FILTER: usize = 60;

/// The result of a poll.
#[derive(Debug)]
pub(super) enum Look {
    /// All apps.
    Apps(Vec<(String, Found)>),
    /// One app, with its counters if requested.
    App(Box<Snapshot>, Option<Metrics>),
    /// The reason why there is no answer.
    Trouble(String),
}

/// The effect of a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Nothing,
    Quit,
    /// Show this app.
    Open(String),
    /// Show all apps.
    Overview,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Panel {
    Apps,
    Queues,
    Tiers,
    Workers,
    Jobs,
}

impl Panel {
    /// The panels of one app, in the order of the Tab key.
    pub const OF_APP: [Self; 4] = [Self::Queues, Self::Tiers, Self::Workers, Self::Jobs];

    fn index(self) -> usize {
        self as usize
    }
}

#[derive(Debug)]
pub(super) struct Top {
    /// The app shown; `None` for all apps.
    pub app: Option<String>,
    /// There is an overview to return to.
    pub several: bool,
    pub apps: Vec<(String, Found)>,
    pub told: Option<Snapshot>,
    pub trouble: Option<String>,
    pub focus: Panel,
    pub orders: [Order; 5],
    pub filter: String,
    pub typing: bool,
    /// The top row of the focused panel; in the overview the selected row.
    pub at: usize,
    pub colour: bool,
    jobs: Rates,
    cpu: Rates,
}

impl Top {
    pub fn new(app: Option<String>, colour: bool) -> Self {
        let focus = if app.is_some() { Panel::Workers } else { Panel::Apps };
        let mut orders = [Order::default(); 5];
        // The longest running first.
        orders[4].column = Some(3);
        Self {
            several: app.is_none(),
            app,
            apps: Vec::new(),
            told: None,
            trouble: None,
            focus,
            orders,
            filter: String::new(),
            typing: false,
            at: 0,
            colour,
            jobs: Rates::default(),
            cpu: Rates::default(),
        }
    }

    /// Stores the result of a poll made at this time, in milliseconds.
    pub fn see(&mut self, look: Look, at_ms: u64) {
        self.trouble = None;
        match look {
            Look::Apps(apps) if self.app.is_none() => self.apps = apps,
            Look::App(told, metrics) if self.app.is_some() => {
                self.cpu.put(at_ms, by_process(&told));
                if let Some(metrics) = metrics {
                    self.jobs.put(at_ms, by_queue(&metrics));
                }
                self.told = Some(*told);
            }
            Look::Trouble(why) => self.trouble = Some(why),
            // A late reply for a view that was left.
            Look::Apps(_) | Look::App(..) => {}
        }
    }

    /// The rows of a panel, sorted and filtered.
    pub fn grid(&self, panel: Panel) -> Grid {
        let none = Snapshot::default();
        let told = self.told.as_ref().unwrap_or(&none);
        let grid = match panel {
            Panel::Apps => panels::apps(&self.apps),
            Panel::Queues => panels::queues(told, &self.jobs),
            Panel::Tiers => panels::tiers(told, &self.cpu),
            Panel::Workers => panels::workers(told, &self.cpu),
            Panel::Jobs => panels::jobs(told),
        };
        // The three tiers are not filtered.
        let filter = if panel == Panel::Tiers { "" } else { &self.filter };
        grid.arranged(self.order(panel), filter)
    }

    pub fn order(&self, panel: Panel) -> Order {
        self.orders.get(panel.index()).copied().unwrap_or_default()
    }

    /// Handles a key.
    pub fn press(&mut self, key: KeyEvent) -> Wish {
        if key.kind == KeyEventKind::Release {
            return Wish::Nothing;
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        if control && matches!(key.code, KeyCode::Char('c' | 'd')) {
            return Wish::Quit;
        }
        if self.typing {
            self.type_key(key.code, control);
            return Wish::Nothing;
        }
        match key.code {
            KeyCode::Char('q' | 'Q') => return Wish::Quit,
            KeyCode::Esc if !self.filter.is_empty() => self.filter.clear(),
            KeyCode::Esc | KeyCode::Backspace if self.app.is_some() && self.several => {
                *self = Self { apps: std::mem::take(&mut self.apps), ..Self::new(None, self.colour) };
                return Wish::Overview;
            }
            KeyCode::Esc => return Wish::Quit,
            KeyCode::Enter if self.app.is_none() => return self.open(),
            KeyCode::Tab => self.turn(1),
            KeyCode::BackTab => self.turn(3),
            KeyCode::Char(digit @ '1'..='4') if self.app.is_some() => {
                self.go_to(Panel::OF_APP.get(digit as usize - '1' as usize).copied());
            }
            KeyCode::Right | KeyCode::Char('s') => self.sort(1),
            KeyCode::Left | KeyCode::Char('S') => self.sort(-1),
            KeyCode::Char('r') => self.change(|order| order.reverse = !order.reverse),
            KeyCode::Char('/') => self.typing = true,
            KeyCode::Up | KeyCode::Char('k') => self.at = self.at.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.at += 1,
            KeyCode::PageUp => self.at = self.at.saturating_sub(10),
            KeyCode::PageDown => self.at += 10,
            KeyCode::Home => self.at = 0,
            KeyCode::End => self.at = usize::MAX,
            _ => {}
        }
        self.at = self.at.min(self.grid(self.focus).rows.len().saturating_sub(1));
        Wish::Nothing
    }

    fn type_key(&mut self, code: KeyCode, control: bool) {
        match code {
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => {
                self.filter.clear();
                self.typing = false;
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(c) if !control && self.filter.chars().count() < FILTER => self.filter.push(c),
            _ => {}
        }
        self.at = 0;
    }

    fn open(&mut self) -> Wish {
        let rows = self.grid(Panel::Apps).rows;
        let Some(app) = rows.get(self.at).and_then(|row| row.cells.first()).map(|cell| cell.text.clone()) else {
            return Wish::Nothing;
        };
        let apps = std::mem::take(&mut self.apps);
        *self = Self { several: true, apps, ..Self::new(Some(app.clone()), self.colour) };
        Wish::Open(app)
    }

    fn turn(&mut self, steps: usize) {
        let place = Panel::OF_APP.iter().position(|panel| *panel == self.focus);
        let next = place.map(|place| (place + steps) % Panel::OF_APP.len());
        self.go_to(next.and_then(|next| Panel::OF_APP.get(next)).copied());
    }

    fn go_to(&mut self, panel: Option<Panel>) {
        self.focus = panel.unwrap_or(self.focus);
        self.at = 0;
    }

    /// Sorts by the next or previous column; beyond the last, in the original order.
    fn sort(&mut self, step: isize) {
        let columns = self.grid(self.focus).heads.len();
        self.change(|order| {
            let now = order.column.map_or(0, |column| column + 1) as isize;
            let next = (now + step).rem_euclid(columns as isize + 1) as usize;
            order.column = next.checked_sub(1);
            order.reverse = false;
        });
    }

    fn change(&mut self, change: impl Fn(&mut Order)) {
        if let Some(order) = self.orders.get_mut(self.focus.index()) {
            change(order);
        }
    }
}
