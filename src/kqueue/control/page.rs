//! A page of the dashboard, for the door in the app: rendered from the answers that any permitted peer gets.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use jiff::tz::TimeZone;
use kqueue_control::{PageAnswer, Request, VERSION};
use kqueue_pages::{Answers, Moment, Mount, Need, Query, View, acts, headers, statics, trouble};

use super::socket::unable;

/// Maximum bytes of the path at which an app mounts the pages.
const BASE: usize = 200;

/// Answers a request for a page. `ask` sends one request to the runtime; `owner` is whether contents of jobs may be
/// shown.
pub async fn answer<F, A>(path: &str, query: &str, base: &str, token: Option<String>, owner: bool, ask: A) -> Vec<u8>
where
    A: Fn(Request) -> F,
    F: Future<Output = Option<Vec<u8>>>,
{
    let Some(mount) = mounted(base) else { return unable(NO_PATH) };
    let mount = match token {
        Some(token) => mount.acting(&token),
        None => mount,
    };
    if let Some(file) = path.strip_prefix("static/") {
        return told(statics::find(file).map(|file| (200, file.kind, file.text.to_owned(), statics::CACHE)), &mount);
    }
    let Some(view) = View::at(path) else { return told(None, &mount) };
    let (query, moment) = (Query::parse(query), Moment { now: now_ms(), zone: TimeZone::system() });
    let mut answers = Answers::default();
    collect(&mut answers, view.needs(&query, &moment, owner), &ask).await;
    // On a blocking thread: rendering a page of a thousand classes takes some milliseconds, in which no job would
    // start.
    let made = tokio::task::spawn_blocking(move || {
        let (status, page) = view.render(&mount, &query, &moment, &answers);
        told(Some((status, HTML, page, "no-store")), &mount)
    });
    made.await.unwrap_or_else(|_| unable("cannot render the page"))
}

const NO_PATH: &str = "invalid mount path of the pages: use a path such as /kqueue";

/// The mount point of the pages, used in links only: a path on this host; `None` if it is not one.
fn mounted(base: &str) -> Option<Mount> {
    let is_path = base.is_empty() || (base.starts_with('/') && !base.starts_with("//"));
    let is_plain = base.len() <= BASE && !base.chars().any(|c| c.is_control() || c == '\\');
    (is_path && is_plain).then(|| Mount::of_app(base))
}

/// Carries out the action of a submitted form for the user `by`, and answers with a page of its result.
pub async fn form<F, A>(deed: &str, fields: &str, base: &str, by: String, ask: A) -> Vec<u8>
where
    A: Fn(Request) -> F,
    F: Future<Output = Option<Vec<u8>>>,
{
    let Some(mount) = mounted(base) else { return unable(NO_PATH) };
    let form = Query::parse(fields);
    // The app has verified its token, if it has any, and further forms need it.
    let mount = mount.acting(form.get("_token").unwrap_or_default());
    let done = match acts::read(deed, &form) {
        Err(why) => Err(why.to_owned()),
        Ok(act) => acts::told(ask(Request::OnBehalf { by, act }).await.as_deref()),
    };
    let (status, page) = acts::outcome(&mount, &form, &done);
    told(Some((status, HTML, page, "no-store")), &mount)
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

const HTML: &str = "text/html; charset=utf-8";

async fn collect<F, A>(answers: &mut Answers, needs: Vec<Need>, ask: &A)
where
    A: Fn(Request) -> F,
    F: Future<Output = Option<Vec<u8>>>,
{
    let asked = needs.into_iter().map(|Need { slot, request }| {
        let answered = ask(request);
        async move { (slot, answered.await) }
    });
    for (slot, answer) in join_all(asked).await {
        let why = "the runtime is starting, stopping, or too busy to answer";
        answers.put(slot, answer.as_deref().ok_or_else(|| why.to_owned()));
    }
}

fn told(found: Option<(u16, &str, String, &str)>, mount: &Mount) -> Vec<u8> {
    let none = || (404, HTML, trouble(mount, "There is no such page", ""), "no-store");
    let (status, kind, body, cache) = found.unwrap_or_else(none);
    let mut sent: BTreeMap<String, String> =
        headers().into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    sent.insert("cache-control".to_owned(), cache.to_owned());
    let answer = PageAnswer { version: VERSION, status, kind: kind.to_owned(), headers: sent, body };
    serde_json::to_vec(&answer).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(path: &str, base: &str, owner: bool) -> serde_json::Value {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let ask = |request: Request| async move {
            Some(match request {
                Request::Snapshot => br#"{"version":1,"app":"shop","state":"running","launcher":"process"}"#.to_vec(),
                Request::Job { payload, .. } => {
                    format!(r#"{{"attempts":[{{"class":"A"}}],"journal":"payload {payload}"}}"#).into_bytes()
                }
                _ => unable("history is off"),
            })
        };
        serde_json::from_slice(&runtime.block_on(answer(path, "id=a", base, None, owner, ask))).unwrap()
    }

    #[test]
    fn pages_and_their_files_below_a_base() {
        let page = asked("", "/kqueue", true);
        let body = page["body"].as_str().unwrap();
        assert_eq!((page["status"].as_u64(), page["type"].as_str()), (Some(200), Some(HTML)));
        assert!(body.contains("href=\"/kqueue/jobs\"") && body.contains("history is off"), "{body}");
        assert!(page["headers"]["content-security-policy"].as_str().unwrap().contains("default-src 'none'"));
        let style = asked(&format!("static/{}", statics::style()), "/kqueue", true);
        assert!(style["headers"]["cache-control"].as_str().unwrap().contains("immutable"));
        for none in ["moon", "static/moon.css"] {
            assert_eq!(asked(none, "/kqueue", true)["status"].as_u64(), Some(404));
        }
        // The payload is requested only for the owner.
        for owner in [true, false] {
            let body = asked("job", "", owner)["body"].to_string();
            assert!(body.contains(&format!("payload {owner}")), "{body}");
        }
    }

    #[test]
    fn a_base_is_a_path_of_this_host() {
        for base in ["//evil.example", "https://evil.example", "kqueue", "/a\nb", "/\\evil", &"/a".repeat(BASE)] {
            assert!(asked("", base, true)["unable"].is_string(), "{base}");
        }
    }
}
