//! All pages, with hostile texts from the app.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use kqueue_control::{Acted, BrokenMessage, Paused, PausedClass};
use kqueue_core::histogram::Histogram;
use serde_json::{Value, json};

use super::*;

/// A hostile name.
const HOSTILE: &str = "<script>alert('1')</script>\"'>\u{1b}[31m\r\n\u{202e}\u{0}<img src=x onerror=a()>";

const VIEWS: [View; 7] = [View::Overview, View::Jobs, View::Job, View::Classes, View::Class, View::Queue, View::Events];

fn moment() -> Moment {
    Moment { now: 1_767_265_200_000, zone: TimeZone::UTC }
}

fn histogram(values: &[u64]) -> Histogram {
    let mut histogram = Histogram::default();
    values.iter().for_each(|value| histogram.record(*value));
    histogram
}

fn job(name: &str, state: &str) -> Value {
    json!({
        "uuid": name, "class": name, "queue": name, "tags": [name], "state": state, "attempt": 2, "tier": name, "why": name,
        "worker": 7, "queued": 1_767_265_000_000_u64, "due": 1_767_265_100_000_u64, "started": 1_767_265_100_000_u64,
        "ended": 1_767_265_101_000_u64, "wait_ms": 90_000, "ms": 1_000, "memory_peak": 1 << 24, "cpu_usec": 4_000, "timeout": 60, "cause": name,
    })
}

fn figures(runs: u64) -> Value {
    json!({
        "outcomes": {"done": runs, "failed": 2, HOSTILE: 1}, "wait": histogram(&[10, 900]), "duration": histogram(&[3, 70_000]),
        "memory_peak": 1 << 27, "cpu_usec": 90_000,
    })
}

fn with(mut one: Value, more: Value) -> Value {
    one.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    one
}

/// All answers of a runtime, with `name` as every text.
fn answers(name: &str) -> Answers {
    let since = 1_767_261_600_u64;
    let event = |kind: &str| json!({"at": (since + 60) * 1000, "kind": kind, "text": name, "tier": name, "worker": 1, "job": name});
    let points: Vec<Value> = (0..60)
        .map(|minute| {
            with(figures(minute), json!({"at": since + minute * 60, "backlog": minute * 3, "oldest": minute}))
        })
        .collect();
    let queues = json!({name: with(figures(9), json!({"runs": [1, 2]}))});
    let series = json!({"version": 1, "step": 60, "points": points, "queues": queues});
    let told = [
        (
            Slot::Snapshot,
            json!({
                "version": 1, "app": name, "state": "degraded", "status": name, "reason": name, "remedy": name, "since": since, "launcher": name,
                "laravel": name, "php": name, "connection": name, "waiting": 12, "rate": 1.5, "running": 1,
                "queues": [{"name": name, "paused": true, "paused_by": {"by": "operator", "user": name, "until": since, "every": true}, "error": name, "oldest": 75.0, "sizes": {"pending": 3, "delayed": 1, "reserved": 1}}],
                "paused_classes": [{"class": name, "paused_by": {"by": name}}, {"class": format!("{name}2"), "paused_by": {"by": "operator", "user": name}}],
                "tiers": [{"tier": name, "running_jobs": [{"uuid": name, "class": name, "queue": name, "attempt": 1, "worker": 7, "seconds": 2.5}]}],
                "workers": [{"id": 7, "tier": name, "unit": name, "state": name, "seconds": 2.0, "jobs": 4, "memory_kb": 40_000}],
                "failures": [{"at": since + 9, "uuid": name, "class": name, "queue": name, "tier": name, "outcome": name, "attempt": 1, "cause": name}],
            }),
        ),
        (
            Slot::Stats,
            json!({"total": figures(9), "lacks": [name],
                "classes": [with(figures(9), json!({"class": name, "tier": name, "why": name}))],
                "queues": [with(figures(9), json!({"queue": name}))]}),
        ),
        (Slot::Series, series),
        (Slot::Jobs, json!({"jobs": [job(name, "failed"), job(name, "waiting")], "next": name})),
        (Slot::Running, json!({"jobs": [job(name, "running")]})),
        (Slot::Failed, json!({"jobs": [job(name, "failed")]})),
        (
            Slot::Timeline,
            json!({"uuid": name, "attempts": [job(name, "released"), job(name, "running")], "events": [event("worker")], "journal": name, "payload": name}),
        ),
        (Slot::Events, json!({"events": [event("outage"), event("deploy"), event(name), event("pause")]})),
    ];
    let mut answers = Answers::default();
    for (slot, value) in told {
        let bytes = serde_json::to_vec(&value).unwrap();
        answers.put(slot, Ok(&bytes));
    }
    answers
}

/// The result of an action, with a message of each kind.
fn acted(name: &str) -> Acted {
    let text = || Some(name.to_owned());
    let message = BrokenMessage { id: name.to_owned(), queue: name.to_owned(), why: text(), ..Default::default() };
    let shown = BrokenMessage { class: text(), uuid: text(), text: text(), ..message.clone() };
    let cut = BrokenMessage { cut: true, ..shown.clone() };
    Acted { said: vec![name.to_owned()], broken: vec![message, shown, cut], ..Acted::default() }
}

fn query(name: &str) -> Query {
    let fields =
        ["name", "id", "class", "queue", "tag", "text", "from", "to", "after", "kind", "sort", "state", "end", "span"];
    let pairs: Vec<(&str, &str)> = fields.iter().map(|field| (*field, name)).collect();
    Query::parse(&crate::query::encoded(pairs.into_iter()))
}

fn all_pages(name: &str) -> BTreeMap<String, String> {
    let answers = answers(name);
    let mut pages = BTreeMap::new();
    let (host_door, app_door) = (Mount::of_host("/app/shop/x", Some("shop")), Mount::of_app("/kqueue"));
    for mount in [host_door.acting(""), app_door.acting(name)] {
        let done = acts::outcome(&mount, &query(name), &Ok(acted(name)));
        pages.insert(format!("outcome at {}", mount.page("")), done.1);
        for view in &VIEWS {
            let (status, page) = view.render(&mount, &query(name), &moment(), &answers);
            assert_eq!(status, 200);
            pages.insert(format!("{view:?} at {}", mount.page("")), page);
        }
        pages.insert(format!("trouble at {}", mount.page("")), trouble(&mount, "Not here", name));
    }
    let card = AppCard {
        app: name.to_owned(),
        snapshot: Some(answers.snapshot),
        hour: answers.series,
        words: name.to_owned(),
        is_bad: true,
    };
    pages.insert(
        "host".to_owned(),
        host(&Mount::of_host("/", None), &moment(), &[card, AppCard { app: "blog".to_owned(), ..AppCard::default() }]),
    );
    pages
}

#[test]
fn what_an_app_says_stays_text() {
    for (name, page) in all_pages(HOSTILE) {
        assert_eq!(page.matches("<script").count(), 1, "{name}: its own script alone");
        for harmful in ["<img src=x", "alert('1')</script>", "\u{1b}", "\u{202e}", "\u{0}", "\r"] {
            assert!(!page.contains(harmful), "{name}: {harmful:?}");
        }
        // Attribute values stay within their quotes.
        assert!(!page.contains("\"'>"), "{name}");
        assert!(page.contains("&lt;script&gt;"), "{name}: it is shown, escaped");
    }
}

#[test]
fn nothing_stands_in_a_page_that_the_policy_forbids() {
    for (name, page) in all_pages("App\\Jobs\\A") {
        assert!(!page.contains("<style") && !page.contains(" style=") && !page.contains("javascript:"), "{name}");
        assert!(!page.contains(" onclick=") && !page.contains(" onload="), "{name}");
        let script = page.split("<script").nth(1).unwrap();
        assert!(script.starts_with(" src=") && script.contains("defer></script>"), "{name}: {}", &script[..60]);
        for part in page.split("href=\"").chain(page.split("src=\"")).chain(page.split("action=\"")).skip(1) {
            let link = part.split('"').next().unwrap();
            assert!(!link.contains("//") && !link.starts_with("http"), "{name}: {link}");
        }
    }
    assert!(!POLICY.contains("unsafe"));
}

/// Every page has its landmarks, unique ids, resolvable labels, and tables with captions and scopes.
#[test]
fn pages_are_whole_and_have_their_landmarks() {
    for (name, page) in all_pages("App\\Jobs\\A") {
        for landmark in ["<main id=\"main\"", "<header", "<h1", "<title>", "lang=\"en\"", "href=\"#main\""] {
            assert!(
                page.contains(landmark) || (landmark == "<h1" && name.starts_with("Overview")),
                "{name}: {landmark}"
            );
        }
        let mut ids: Vec<&str> = page.split(" id=\"").skip(1).filter_map(|part| part.split('"').next()).collect();
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all, "{name}: {ids:?}");
        for label in page.split("aria-labelledby=\"").skip(1).filter_map(|part| part.split('"').next()) {
            assert!(ids.contains(&label), "{name}: {label}");
        }
        assert_eq!(page.matches("<table").count(), page.matches("<caption").count(), "{name}");
        assert_eq!(page.matches("<th ").count(), page.matches("scope=\"").count(), "{name}");
    }
}

#[test]
fn an_app_that_says_nothing_has_pages_too() {
    let nothing = Answers::default();
    for view in &VIEWS {
        let (status, page) = view.render(&Mount::of_app("/kqueue"), &Query::default(), &moment(), &nothing);
        assert_eq!(status, if *view == View::Job { 404 } else { 200 }, "{view:?}");
        assert!(page.contains("</html>"), "{view:?}");
    }
    assert!(host(&Mount::of_host("/", None), &moment(), &[]).contains("There is no app"));
}

#[test]
fn a_page_of_a_thousand_classes_is_made_at_once() {
    let classes: Vec<Value> =
        (0..1_000).map(|number| with(figures(number), json!({"class": format!("App\\Jobs\\Class{number}")}))).collect();
    let mut answers = Answers::default();
    answers.put(Slot::Stats, Ok(&serde_json::to_vec(&json!({"classes": classes})).unwrap()));
    let (_, page) = View::Classes.render(&Mount::of_app(""), &Query::parse("sort=failed"), &moment(), &answers);
    assert_eq!(page.matches("<tr>").count(), 1_001);
    assert!(page.len() < 2 << 20, "{}", page.len());
}

#[test]
fn views_and_their_questions() {
    for view in &VIEWS {
        assert_eq!(View::at(view.path()).as_ref(), Some(view));
        let needs = view.needs(&query("x"), &moment(), true);
        assert_eq!(needs[0].slot, Slot::Snapshot);
        for need in needs {
            assert!(serde_json::to_vec(&need.request).unwrap().len() < 4_096);
        }
    }
    assert_eq!(View::at("live/../jobs"), None);
    let asked = |payload| {
        serde_json::to_string(&View::Job.needs(&Query::parse("id=a"), &moment(), payload)[1].request).unwrap()
    };
    assert!(asked(true).contains(r#""payload":true"#) && asked(false).contains(r#""payload":false"#));
}

#[test]
fn only_who_may_act_sees_forms() {
    let mut answers = answers("A");
    answers.snapshot.queues[0].paused = false;
    let page =
        |mount: &Mount, view: &View, fields: &str| view.render(mount, &Query::parse(fields), &moment(), &answers).1;
    let mount = Mount::of_app("/kqueue");
    for view in &VIEWS {
        assert!(!page(&mount, view, "name=A&id=A").contains("method=\"post\""), "{view:?}");
    }
    let queue = page(&mount.acting("s3cret"), &View::Queue, "name=A&span=24h");
    let form = queue.split("<form class=\"act\"").nth(1).unwrap().split("</form>").next().unwrap();
    assert!(
        form.contains("action=\"/kqueue/act/pause\"") && form.contains("name=\"_token\" value=\"s3cret\""),
        "{form}"
    );
    assert!(
        form.contains("name=\"queue\" value=\"A\"") && form.contains("value=\"queue?name=A&amp;span=24h\""),
        "{form}"
    );
}

/// Without tags, and with single spaces.
fn words(page: &str) -> String {
    let text: String = page.split('<').map(|part| part.split_once('>').map_or(part, |(_, text)| text)).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_pause_says_by_whom_and_until_when() {
    let paused = |by: &str, user: Option<&str>, until: Option<u64>, every: bool| Paused {
        by: by.to_owned(),
        user: user.map(str::to_owned),
        until,
        every,
    };
    let end = Some(1_767_276_000);
    for (pause, said, resumed) in [
        (paused("operator", Some("alice"), end, false), "paused by alice until 14:00:00", "Resume"),
        (
            paused("operator", Some("al\u{1b}ice"), end, true),
            "paused by al ice until 14:00:00, with all queues",
            "Resume all",
        ),
        (paused("operator", None, None, false), "paused by an operator", "Resume"),
        (paused("app", None, None, false), "paused by the app (queue:pause)", ""),
        (paused("horizon", None, None, true), "paused by Horizon", ""),
        (paused("moon", Some("x"), end, false), "paused until 14:00:00", ""),
    ] {
        let mut answers = answers("A");
        let every = pause.every && pause.by == "operator";
        answers.snapshot.queues[0].paused_by = Some(pause.clone());
        answers.snapshot.paused_classes = vec![PausedClass { class: "A".to_owned(), paused_by: pause, waiting: 0 }];
        let mount = Mount::of_app("/kqueue");
        let page = |mount: &Mount, view: &View| view.render(mount, &Query::parse("name=A"), &moment(), &answers).1;
        for view in [View::Overview, View::Queue, View::Class, View::Classes] {
            let shown = words(&page(&mount, &view));
            assert!(shown.contains(said), "{view:?}: {said}: {shown}");
            // A class in the table is not listed once more.
            assert!(view != View::Classes || shown.matches("paused ").count() == 1, "{shown}");
        }
        let mount = mount.acting("");
        let button = format!("<button>{resumed}</button>");
        let queue = page(&mount, &View::Queue);
        assert_eq!(queue.contains(&button), !resumed.is_empty(), "{said}");
        assert_eq!(queue.matches("<button>Resume").count(), usize::from(!resumed.is_empty()), "{said}");
        let overview = page(&mount, &View::Overview);
        let acts = overview.split("id=\"app-acts\"").nth(1).unwrap().split("</div>").next().unwrap();
        let all = if every { "<button>Resume all</button>" } else { "<button>Pause all</button>" };
        assert!(acts.contains(all) && acts.contains("name=\"every\" value=\"yes\""), "{said}: {acts}");
        assert_eq!(acts.contains("required"), !every, "{acts}");
    }
}

#[test]
fn a_paused_class_without_jobs_is_listed_too() {
    let mut answers = answers("A");
    answers.stats.classes.clear();
    let (_, page) = View::Classes.render(&Mount::of_app(""), &Query::default(), &moment(), &answers);
    assert!(words(&page).contains("A paused A2 paused by A"), "{}", words(&page));
}

#[test]
fn a_process_is_shown_beside_the_limit_of_its_memory() {
    let mut answers = answers("A");
    let shown =
        |answers: &Answers| words(&View::Overview.render(&Mount::of_app(""), &Query::default(), &moment(), answers).1);
    answers.snapshot.settings =
        [("worker_memory_max".to_owned(), 512.into()), ("isolated_memory_max".to_owned(), 1536.into())].into();
    assert!(!shown(&answers).contains("39 MB /"), "a tier without a limit");
    for (tier, said) in [("inline", "39 MB / 512 MB"), ("pooled", "39 MB / 512 MB"), ("isolated", "39 MB")] {
        answers.snapshot.workers[0].tier = tier.to_owned();
        assert!(shown(&answers).contains(said), "{tier}: {}", shown(&answers));
    }
    answers.snapshot.settings.clear();
    assert!(!shown(&answers).contains("39 MB /"));
}

#[test]
fn the_overview_shows_no_events_after_its_end() {
    let mut answers = answers("A");
    let listed = |answers: &Answers, end: u64| {
        let query = Query::parse(&format!("end={end}"));
        let page = View::Overview.render(&Mount::of_app(""), &query, &moment(), answers).1;
        let list = page.split("id=\"event-list\"").nth(1).unwrap().split("</div>").next().unwrap();
        list.matches("<li>").count()
    };
    let end = 1_767_262_000;
    answers.events.events[0].at = (end + 1) * 1000;
    assert_eq!(listed(&answers, end), answers.events.events.len() - 1);
    assert_eq!(listed(&answers, end + 1), answers.events.events.len());
    assert_eq!(listed(&answers, 1_767_261_000), 0);
}

#[test]
fn forms_become_what_a_runtime_is_asked() {
    let read = |deed: &str, fields: &str| {
        acts::read(deed, &Query::parse(fields)).map(|act| serde_json::to_string(&act).unwrap())
    };
    assert_eq!(read("pause", "queue=mail").unwrap(), r#"{"ask":"pause","queue":"mail"}"#);
    assert_eq!(read("resume", "class=A").unwrap(), r#"{"ask":"resume","class":"A"}"#);
    assert_eq!(read("pause", "every=yes&sure=yes").unwrap(), r#"{"ask":"pause"}"#);
    assert_eq!(read("resume", "every=yes").unwrap(), r#"{"ask":"resume"}"#);
    assert!(read("pause", "every=yes").unwrap_err().contains("tick the box"));
    assert_eq!(read("retry", "id=7").unwrap(), r#"{"ask":"retry_failed","id":"7"}"#);
    assert_eq!(read("forget", "class=A&sure=yes").unwrap(), r#"{"ask":"forget_failed","class":"A"}"#);
    assert_eq!(read("cancel", "id=u").unwrap(), r#"{"ask":"cancel_everywhere","uuids":["u"]}"#);
    assert_eq!(read("cancel", "class=A&sure=yes").unwrap(), r#"{"ask":"cancel_everywhere","class":"A"}"#);
    assert_eq!(read("move", "id=u&front=yes").unwrap(), r#"{"ask":"move_everywhere","uuids":["u"],"front":true}"#);
    assert_eq!(read("move", "id=u&now=yes").unwrap(), r#"{"ask":"move_everywhere","uuids":["u"],"now":true}"#);
    assert_eq!(read("move", "class=A&to=b&sure=yes").unwrap(), r#"{"ask":"move_everywhere","class":"A","to":"b"}"#);
    assert_eq!(read("lift", "class=A").unwrap(), r#"{"ask":"lift","class":"A"}"#);
    assert_eq!(read("broken", "queue=a").unwrap(), r#"{"ask":"broken","act":"list","queue":"a"}"#);
    assert_eq!(read("drop", "queue=a&id=7").unwrap(), r#"{"ask":"broken","act":"drop","queue":"a","id":"7"}"#);
    assert_eq!(
        read("requeue", "queue=a&id=7&with=%7B%22x%22%0A%7D").unwrap(),
        r#"{"ask":"broken","act":"requeue","queue":"a","id":"7","with":"{\"x\"\n}"}"#
    );
    for deed in ["requeue", "drop"] {
        assert!(read(deed, "queue=a").unwrap_err().contains("tick the box"), "{deed}");
    }
    assert_eq!(read("pool", "size=4&minutes=60").unwrap(), r#"{"ask":"pool","size":4,"seconds":3600}"#);
    assert_eq!(read("pool", "size=4&minutes=").unwrap(), r#"{"ask":"pool","size":4}"#);
    assert_eq!(read("pool", "usual=yes").unwrap(), r#"{"ask":"pool"}"#);
    for deed in ["cancel", "move"] {
        assert!(read(deed, "class=A&to=b").unwrap_err().contains("tick the box"), "{deed}");
    }
    // Bulk actions need the confirmation, and an empty form does nothing.
    assert!(read("retry", "class=A").unwrap_err().contains("tick the box"));
    for (deed, fields) in [
        ("pause", ""),
        ("pause", "queue=a&class=b"),
        ("pause", "every=no&sure=yes"),
        ("pause", "every=yes&queue=a&sure=yes"),
        ("resume", ""),
        ("resume", "queue=a&class=b"),
        ("resume", "every=no"),
        ("resume", "every=yes&queue=a"),
        ("resume", "every=yes&class=b"),
        ("resume", "every=no&queue=a"),
        ("retry", ""),
        ("retry", "id=1&class=A&sure=yes"),
        ("moon", ""),
        ("cancel", ""),
        ("cancel", "id=1&class=A&sure=yes"),
        ("move", "id=u"),
        ("move", "front=yes"),
        ("move", "id=u&front=yes&now=yes"),
        ("move", "id=u&to="),
        ("move", "id=u&class=A&to=b&sure=yes"),
        ("lift", ""),
        ("broken", ""),
        ("broken", "id=7"),
        ("requeue", "queue=a&sure=yes&with=x"),
        ("drop", "queue=a&id=7&with=x"),
        ("requeue", "queue=a&id=7&with=+"),
        ("pool", ""),
        ("pool", "size=x"),
        ("pool", "size=4&minutes=0"),
        ("pool", "size=-1"),
    ] {
        assert!(read(deed, fields).is_err(), "{deed} {fields}");
    }
}

#[test]
fn what_came_of_a_form_leads_back_to_a_page_of_ours() {
    let outcome = |back: &str, done: Result<Vec<String>, String>| {
        let done = done.map(|said| Acted { said, ..Acted::default() });
        let form = Query::parse(&crate::query::encoded([("back", back)].into_iter()));
        acts::outcome(&Mount::of_app("/kqueue"), &form, &done)
    };
    let (status, page) = outcome("queue?name=a%26b", Ok(vec!["paused".to_owned()]));
    assert!(status == 200 && page.contains("href=\"/kqueue/queue?name=a%26b\""), "{page}");
    for strange in ["https://evil.example/?x", "//evil.example?x", "static/x?y", ""] {
        assert!(outcome(strange, Ok(Vec::new())).1.contains("class=\"button\" href=\"/kqueue"), "{strange}");
        assert!(!outcome(strange, Ok(Vec::new())).1.contains("evil"), "{strange}");
    }
    let refused = acts::told(Some(br#"{"version":1,"unable":"only the app's user may"}"#));
    let (status, page) = outcome("", refused.map(|acted| acted.said));
    assert!(status == 409 && page.contains("only the app's user may"), "{page}");
    assert!(acts::told(None).is_err() && acts::told(Some(b"x")).is_err());
    assert_eq!(acts::told(Some(br#"{"version":1,"said":["paused"]}"#)).unwrap().said, ["paused"]);
}
