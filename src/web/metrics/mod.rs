//! `/metrics`: metrics of all apps, for Prometheus.
//!
//! OpenMetrics for clients that accept it, else the older text format. The counters of each runtime since its start are
//! passed on; nothing is counted here. Names of classes and queues come from apps: bounded in number, made harmless,
//! and escaped.

mod collect;
mod encode;
mod labels;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use crate::apps::Apps;
use crate::guard::plain;

const OPEN: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `/metrics`.
pub async fn metrics(State(apps): State<Arc<Apps>>, headers: HeaderMap) -> Response {
    let wants = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let is_open = wants.contains("application/openmetrics-text");
    let told = collect::collect(&apps).await;
    // Thousands of lines take some milliseconds, during which this thread would serve nothing else.
    let made = tokio::task::spawn_blocking(move || written(told, is_open)).await;
    match made.ok().flatten() {
        Some(text) => ([(CONTENT_TYPE, if is_open { OPEN } else { TEXT })], text).into_response(),
        None => plain(StatusCode::INTERNAL_SERVER_ERROR, "cannot encode the metrics\n"),
    }
}

fn written(told: encode::Host, is_open: bool) -> Option<String> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(told));
    let mut text = String::new();
    encode(&mut text, &registry).ok()?;
    Some(if is_open { text } else { older(&text) })
}

/// Converts to the text format before OpenMetrics: it names a counter like its samples, and has no `# EOF`.
fn older(text: &str) -> String {
    let mut made = String::with_capacity(text.len());
    let mut help: Option<(&str, &str)> = None;
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some((name, words)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            help = Some((name, words));
            continue;
        }
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            let end = if kind == "counter" { "_total" } else { "" };
            if let Some((_, words)) = help.take().filter(|(helped, _)| *helped == name) {
                made.push_str(&format!("# HELP {name}{end} {words}\n"));
            }
            made.push_str(&format!("# TYPE {name}{end} {kind}\n"));
            continue;
        }
        made.push_str(line);
        made.push('\n');
    }
    made
}
