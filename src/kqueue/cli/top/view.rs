//! Draws the screen, on a frame of any backend.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, Table};
use unicode_width::UnicodeWidthStr;

use kqueue_system::harmless;

use super::super::show::Mood;
use super::grid::Grid;
use super::panels;
use super::state::{Panel, Top};

/// Maximum bytes of the headline.
const HEADLINE: usize = 1_000;
/// Rows of queues shown while another panel has the focus.
const QUEUES: u16 = 6;
/// Height below which only the focused panel is shown.
const LOW: u16 = 22;
/// Maximum width of a cell.
const WIDEST: usize = 60;

/// Draws the whole screen.
pub(super) fn draw(frame: &mut Frame<'_>, top: &Top) {
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(2), Constraint::Min(1), Constraint::Length(1)]).areas(frame.area());
    frame.render_widget(headline(top), head);
    frame.render_widget(help(top), foot);
    if top.app.is_none() || body.height < LOW {
        return panel(frame, body, top, top.focus);
    }
    let queues = top.grid(Panel::Queues).rows.len();
    let most = if top.focus == Panel::Queues { body.height / 2 } else { QUEUES + 2 };
    let queues = u16::try_from(queues).unwrap_or(u16::MAX).saturating_add(2).clamp(3, most);
    // The panel of jobs takes no more room than it has rows.
    let running = u16::try_from(top.grid(Panel::Jobs).rows.len()).unwrap_or(u16::MAX).saturating_add(2);
    let half = body.height.saturating_sub(queues + 5) / 2;
    let jobs = running.clamp(3, half.max(3));
    let [first, second, third, fourth] = Layout::vertical([
        Constraint::Length(queues),
        Constraint::Length(5),
        Constraint::Min(3),
        Constraint::Length(jobs),
    ])
    .areas(body);
    for (area, of) in [first, second, third, fourth].into_iter().zip(Panel::OF_APP) {
        panel(frame, area, top, of);
    }
}

fn dress(top: &Top, mood: Mood) -> Style {
    let plain = Style::default();
    match (mood, top.colour) {
        (Mood::Good, true) => plain.fg(Color::Green),
        (Mood::Uneasy, true) => plain.fg(Color::Yellow),
        (Mood::Bad, true) => plain.fg(Color::Red),
        (Mood::Quiet, _) => plain.add_modifier(Modifier::DIM),
        (Mood::Bad, false) => plain.add_modifier(Modifier::BOLD),
        (_, false) => plain,
    }
}

fn headline(top: &Top) -> Paragraph<'static> {
    let (text, mood) = match (&top.app, &top.told) {
        (None, _) => {
            let apps = super::super::show::count(top.apps.len() as u64, "app");
            (apps, Mood::Quiet)
        }
        (Some(app), None) => (format!("{app}: …"), Mood::Quiet),
        (Some(_), Some(told)) => (told.status.clone(), panels::mood(told)),
    };
    let first = Line::styled(harmless::line(&text, HEADLINE), dress(top, mood).add_modifier(Modifier::BOLD));
    let second = match &top.trouble {
        Some(why) => Line::styled(harmless::line(why, HEADLINE), dress(top, Mood::Bad)),
        None => Line::default(),
    };
    Paragraph::new(vec![first, second])
}

fn help(top: &Top) -> Paragraph<'static> {
    if top.typing {
        let typed = format!("/{}", harmless::whole_line(&top.filter));
        return Paragraph::new(Line::from(vec![
            Span::styled(typed, Style::default().add_modifier(Modifier::BOLD)),
            Span::styled("█  Enter keep  Esc clear", dress(top, Mood::Quiet)),
        ]));
    }
    let mut text = String::from(match (&top.app, top.several) {
        (None, _) => "q quit  Enter open  ↑↓ choose  ←→ sort  r reverse  / filter",
        (Some(_), true) => "q quit  Esc all apps  Tab panel  ←→ sort  r reverse  ↑↓ scroll  / filter",
        (Some(_), false) => "q quit  Tab panel  ←→ sort  r reverse  ↑↓ scroll  / filter",
    });
    if !top.filter.is_empty() {
        text += &format!("   filter: {}  (Esc clears)", harmless::whole_line(&top.filter));
    }
    Paragraph::new(Line::styled(text, dress(top, Mood::Quiet)))
}

fn panel(frame: &mut Frame<'_>, area: Rect, top: &Top, of: Panel) {
    let grid = top.grid(of);
    let focused = top.focus == of;
    let order = top.order(of);
    let heads = grid.heads.iter().enumerate().map(|(at, head)| {
        let arrow = match order.column {
            Some(column) if column == at => {
                if order.reverse {
                    "▲"
                } else {
                    "▼"
                }
            }
            _ => "",
        };
        (format!("{}{arrow}", head.trim_start_matches('>')), head.starts_with('>'))
    });
    let heads: Vec<(String, bool)> = heads.collect();
    let room = usize::from(area.height.saturating_sub(2));
    let from = first_row(top, &grid, focused, room);
    let widths: Vec<Constraint> = heads
        .iter()
        .enumerate()
        .map(|(at, (head, _))| {
            let cells = grid.rows.iter().filter_map(|row| row.cells.get(at)).map(|cell| cell.text.width());
            let widest = cells.chain([head.width()]).max().unwrap_or(0).min(WIDEST);
            Constraint::Length(u16::try_from(widest).unwrap_or(u16::MAX))
        })
        .collect();
    let rows = grid.rows.iter().enumerate().skip(from).take(room).map(|(at, row)| {
        let cells = row.cells.iter().zip(&heads).map(|(cell, (_, right))| one(&cell.text, *right));
        let style = row.mood.map(|mood| dress(top, mood)).unwrap_or_default();
        let chosen = top.app.is_none() && at == top.at;
        Row::new(cells).style(if chosen { style.add_modifier(Modifier::REVERSED) } else { style })
    });
    let head = Row::new(heads.iter().map(|(head, right)| one(head, *right))).style(dress(top, Mood::Quiet));
    let more = grid.rows.len().saturating_sub(from + room);
    let shown = match (from, more) {
        (0, 0) => String::new(),
        _ => format!(" {}–{} of {} ", from + 1, grid.rows.len() - more, grid.rows.len()),
    };
    let title =
        Style::default().add_modifier(if focused { Modifier::BOLD | Modifier::REVERSED } else { Modifier::BOLD });
    let block = Block::new()
        .borders(Borders::TOP)
        .border_style(dress(top, Mood::Quiet))
        .title(Line::from(vec![Span::styled(format!(" {} ", grid.title), title), Span::raw(shown)]));
    frame.render_widget(Table::new(rows, widths).header(head).column_spacing(2).block(block), area);
}

/// The row at the top of a panel.
fn first_row(top: &Top, grid: &Grid, focused: bool, room: usize) -> usize {
    let last = grid.rows.len().saturating_sub(room);
    match (focused, top.app.is_none()) {
        (false, _) => 0,
        // The selected row stays visible.
        (true, true) => (top.at + 1).saturating_sub(room).min(last),
        (true, false) => top.at.min(last),
    }
}

fn one(text: &str, right: bool) -> Cell<'static> {
    let line = Line::raw(text.to_owned());
    Cell::from(if right { line.right_aligned() } else { line })
}

#[cfg(test)]
mod tests {
    use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
    use kqueue_control::{
        Figures, Found, Metrics, MetricsRow, Paused, Process, Queue, RunningJob, Sizes, Snapshot, State, TierLoad,
    };
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::state::{Look, Wish};
    use super::*;

    fn shop(cpu: u64) -> Snapshot {
        let queue = |name: &str, pending, oldest| Queue {
            name: name.to_owned(),
            sizes: Some(Sizes { pending, ..Sizes::default() }),
            oldest: Some(oldest),
            ..Queue::default()
        };
        let worker = |id: u64, state: &str, memory: u64| Process {
            id,
            tier: "pooled".to_owned(),
            state: state.to_owned(),
            pid: Some(4_000 + id as i32),
            memory_kb: Some(memory << 10),
            cpu_usec: Some(cpu * id),
            ..Process::default()
        };
        let job = |class: &str, worker, seconds| RunningJob {
            class: class.to_owned(),
            worker,
            seconds,
            timeout: 60,
            uuid: format!("uuid-{worker}"),
            ..RunningJob::default()
        };
        Snapshot {
            app: "shop".to_owned(),
            state: State::Running,
            status: "shop: 2 running, 15 waiting\u{1b}[2J, redis ok".to_owned(),
            queues: vec![queue("high", 12, 75.0), queue("default", 3, 2.0)],
            tiers: vec![TierLoad {
                tier: "pooled".to_owned(),
                running: 2,
                running_jobs: vec![job("App\\Jobs\\Quick", 1, 2.0), job("App\\Jobs\\Slow", 2, 57.0)],
                ..TierLoad::default()
            }],
            workers: vec![worker(1, "busy", 40), worker(2, "busy", 90), worker(3, "idle", 30)],
            ..Snapshot::default()
        }
    }

    fn metrics(done: u64) -> Metrics {
        let figures = Figures { outcomes: [("done".to_owned(), done)].into(), ..Figures::default() };
        let row = MetricsRow { queue: "high".to_owned(), figures, ..MetricsRow::default() };
        Metrics { rows: vec![row], ..Metrics::default() }
    }

    fn seen() -> Top {
        let mut top = Top::new(Some("shop".to_owned()), true);
        top.see(Look::App(Box::new(shop(0)), Some(metrics(100))), 1_000);
        top.see(Look::App(Box::new(shop(250_000)), Some(metrics(150))), 3_000);
        top
    }

    fn shown(top: &Top, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, top)).unwrap();
        terminal.backend().to_string()
    }

    fn press(top: &mut Top, code: KeyCode) -> Wish {
        top.press(KeyEvent::new(code, KeyModifiers::NONE))
    }

    /// Asserts that the text contains these parts in this order.
    fn in_order(text: &str, parts: &[&str]) {
        let mut from = 0;
        for part in parts {
            let at = text[from..].find(part).unwrap_or_else(|| panic!("no {part:?} in its place in\n{text}"));
            from += at + part.len();
        }
    }

    #[test]
    fn all_panels_of_an_app() {
        let text = shown(&seen(), 110, 40);
        in_order(
            &text,
            &[
                "shop: 2 running, 15 waiting [2J, redis ok",
                " queues ",
                "QUEUE",
                "OLDEST",
                "high",
                "12",
                "1 min 15 s",
                "25.0",
                "default",
                " tiers ",
                "pooled",
                "160 MB",
                "75 %",
                " processes ",
                "busy",
                "40 MB",
                "12 %",
                "4001",
                "Quick",
                "90 MB",
                "25 %",
                // The longest running job is on top.
                " jobs ",
                "App\\Jobs\\Slow",
                "57 s",
                "1 min",
                "95 %",
                "App\\Jobs\\Quick",
                "q quit  Tab panel",
            ],
        );
        assert!(!text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn who_has_paused_a_queue() {
        let mut told = shop(0);
        let by = Paused { by: "operator".to_owned(), user: Some("al\u{1b}ice".to_owned()), ..Paused::default() };
        told.queues[0] = Queue { paused: true, paused_by: Some(by), ..told.queues[0].clone() };
        let by = Paused { by: "horizon".to_owned(), ..Paused::default() };
        told.queues[1] = Queue { paused: true, paused_by: Some(by), ..told.queues[1].clone() };
        let mut top = Top::new(Some("shop".to_owned()), true);
        top.see(Look::App(Box::new(told), None), 1_000);
        in_order(&shown(&top, 110, 40), &["high", "paused by al ice", "default", "paused by Horizon"]);
    }

    #[test]
    fn a_low_terminal_shows_one_panel_and_scrolls() {
        let mut top = seen();
        let text = shown(&top, 80, 6);
        in_order(&text, &[" processes ", "1–1 of 3", "40 MB"]);
        assert!(!text.contains(" queues "), "{text}");
        press(&mut top, KeyCode::Down);
        in_order(&shown(&top, 80, 6), &["2–2 of 3", "90 MB"]);
        press(&mut top, KeyCode::End);
        press(&mut top, KeyCode::Char('j'));
        in_order(&shown(&top, 80, 6), &["3–3 of 3", "30 MB"]);
        for (width, height) in [(1, 1), (10, 3), (300, 100)] {
            shown(&top, width, height);
        }
    }

    #[test]
    fn keys_sort_filter_and_turn() {
        let mut top = seen();
        // By memory, the sixth column.
        (0..6).for_each(|_| assert_eq!(press(&mut top, KeyCode::Right), Wish::Nothing));
        in_order(&shown(&top, 110, 40), &["MEMORY▼", "90 MB", "40 MB", "30 MB"]);
        press(&mut top, KeyCode::Char('r'));
        in_order(&shown(&top, 110, 40), &["MEMORY▲", "30 MB", "40 MB", "90 MB"]);
        "/slow".chars().for_each(|c| assert_eq!(press(&mut top, KeyCode::Char(c)), Wish::Nothing));
        in_order(&shown(&top, 110, 40), &["90 MB", "App\\Jobs\\Slow", "/slow█"]);
        press(&mut top, KeyCode::Enter);
        let text = shown(&top, 110, 40);
        assert!(!text.contains("Quick") && text.contains("filter: slow"), "{text}");
        assert_eq!(press(&mut top, KeyCode::Esc), Wish::Nothing);
        assert!(shown(&top, 110, 40).contains("Quick"));
        press(&mut top, KeyCode::Tab);
        assert_eq!(top.focus, Panel::Jobs);
        press(&mut top, KeyCode::BackTab);
        press(&mut top, KeyCode::Char('1'));
        assert_eq!(top.focus, Panel::Queues);
        assert_eq!(press(&mut top, KeyCode::Char('q')), Wish::Quit);
        assert_eq!(top.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Wish::Quit);
    }

    #[test]
    fn from_all_apps_into_one_and_back() {
        let mut top = Top::new(None, false);
        let told = serde_json::to_value(shop(0)).unwrap();
        let stopped = Found::Stopped { failed: true, why: "failed (exit-code)".to_owned() };
        top.see(Look::Apps(vec![("blog".to_owned(), stopped), ("shop".to_owned(), Found::Told(told, "/s".into()))]), 0);
        in_order(&shown(&top, 120, 24), &["2 apps", "blog", "failed (exit-code)", "shop", "running", "160 MB"]);
        press(&mut top, KeyCode::Down);
        assert_eq!(press(&mut top, KeyCode::Enter), Wish::Open("shop".to_owned()));
        top.see(Look::Trouble("shop: it has just stopped".to_owned()), 5);
        in_order(&shown(&top, 120, 40), &["shop: …", "it has just stopped"]);
        assert_eq!(press(&mut top, KeyCode::Esc), Wish::Overview);
        assert_eq!((top.app.is_none(), press(&mut top, KeyCode::Esc)), (true, Wish::Quit));
        // A late reply is ignored.
        top.see(Look::App(Box::new(shop(0)), None), 9);
        assert!(top.told.is_none());
    }
}
