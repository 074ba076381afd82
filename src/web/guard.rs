//! The checks of every request, and the security headers of every response.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, ORIGIN, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use kqueue_pages::headers;

use crate::auth::Keys;

/// What a request must meet.
#[derive(Debug)]
pub struct Guard {
    /// The accepted credentials.
    pub keys: Keys,
    /// Accepted names in `Host`, besides addresses and `localhost`.
    pub names: Vec<String>,
}

/// Passes a request on or refuses it, and adds the common headers to every response.
pub async fn pass(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let mut answer = match guard.refusal(request.method(), request.uri().path(), request.headers()).await {
        Some(refusal) => refusal,
        None => next.run(request).await,
    };
    let sent = answer.headers_mut();
    for (name, value) in headers() {
        sent.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    sent.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    answer
}

impl Guard {
    async fn refusal(&self, method: &Method, path: &str, headers: &HeaderMap) -> Option<Response> {
        // Only the forms of pages change anything.
        let is_form = *method == Method::POST && is_form(path);
        if !is_form && !matches!(*method, Method::GET | Method::HEAD) {
            let words = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are allowed\n");
            return Some(([(ALLOW, "GET, HEAD")], words).into_response());
        }
        if !self.is_ours(headers) {
            let words = "unknown name in Host: start kqueue-web with --host NAME, or use its address\n";
            return Some(plain(StatusCode::MISDIRECTED_REQUEST, words));
        }
        if !self.is_from_here(headers) || (is_form && !is_own_form(headers)) {
            return Some(plain(
                StatusCode::FORBIDDEN,
                "refused: the request comes from another site, or does not state its origin\n",
            ));
        }
        if self.keys.is_asked() && !self.keys.allow(headers).await {
            let words = plain(StatusCode::UNAUTHORIZED, "authentication required: a token or a password\n");
            return Some(([(WWW_AUTHENTICATE, "Basic realm=\"kqueue\", charset=\"UTF-8\"")], words).into_response());
        }
        None
    }

    /// Whether `Host` is an address or one of our names. Against DNS rebinding: the name of another site can be pointed
    /// at this server, and a browser would take us for the same origin as that site's pages. Nobody can do that with an
    /// address.
    fn is_ours(&self, headers: &HeaderMap) -> bool {
        let mut hosts = headers.get_all(HOST).iter();
        match (hosts.next().map(HeaderValue::to_str), hosts.next()) {
            (Some(Ok(host)), None) => self.is_name(host),
            _ => false,
        }
    }

    fn is_name(&self, host: &str) -> bool {
        let name =
            host.rsplit_once(':').filter(|(name, port)| is_port(port) && (!name.contains(':') || name.ends_with(']')));
        let name = name.map_or(host, |(name, _)| name);
        let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        name.eq_ignore_ascii_case("localhost")
            || address.parse::<IpAddr>().is_ok()
            || self.names.iter().any(|known| known.eq_ignore_ascii_case(name))
    }

    /// Whether `Sec-Fetch-*`, or else `Origin`, if sent, say that no page of another site makes the request. Links to
    /// here are allowed. `Sec-Fetch-Site` is the browser's own verdict, and holds behind a proxy too, where `Origin` has
    /// a name that is not ours.
    fn is_from_here(&self, headers: &HeaderMap) -> bool {
        let said = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let goes_there = said("sec-fetch-mode") == Some("navigate") && said("sec-fetch-dest") == Some("document");
        let is_site = matches!(said("sec-fetch-site"), None | Some("same-origin" | "none")) || goes_there;
        let is_judged = said("sec-fetch-site").is_some();
        let is_origin = is_judged
            || headers.get(ORIGIN).is_none_or(|origin| {
                let host = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
                host.is_some_and(|host| self.is_name(host))
            });
        is_site && is_origin
    }
}

/// Whether a path is that of a form: `/app/shop/act/pause`.
fn is_form(path: &str) -> bool {
    let mut parts = path.split('/').skip(1);
    (parts.next(), parts.nth(1), parts.next().is_some(), parts.next()) == (Some("app"), Some("act"), true, None)
}

/// Whether `Sec-Fetch-Site`, or else `Origin`, says that one of our own pages sent the form. Without either it is
/// refused: a link, or a page of another site at an address, must not act.
fn is_own_form(headers: &HeaderMap) -> bool {
    let said = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    match said(HeaderName::from_static("sec-fetch-site")) {
        Some(site) => site == "same-origin",
        None => {
            let origin = said(ORIGIN).and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
            origin.is_some() && origin == said(HOST)
        }
    }
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A response in plain text.
pub fn plain(status: StatusCode, words: &'static str) -> Response {
    (status, [(CONTENT_TYPE, "text/plain; charset=utf-8")], words).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard() -> Guard {
        let keys = Keys::read(&crate::options::Options::default()).unwrap();
        Guard { keys, names: vec!["queues.example".to_owned()] }
    }

    fn headers(given: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        HeaderMap::from_iter(given.iter().map(pair))
    }

    #[test]
    fn a_strangers_name_is_not_ours() {
        let guard = guard();
        for host in
            ["localhost", "LOCALHOST:8080", "127.0.0.1:80", "[::1]:8080", "[::1]", "10.1.2.3", "Queues.Example:443"]
        {
            assert!(guard.is_ours(&headers(&[("host", host)])), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:80",
            "",
            "[::1]x",
            "queues.example:x",
            "a@localhost",
        ] {
            assert!(!guard.is_ours(&headers(&[("host", host)])), "{host}");
        }
        assert!(!guard.is_ours(&HeaderMap::new()));
    }

    #[test]
    fn pages_of_other_sites_may_link_here_and_nothing_more() {
        let guard = guard();
        let link = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
        for allowed in [
            &[][..],
            &[("sec-fetch-site", "same-origin")],
            &[("sec-fetch-site", "same-origin"), ("origin", "https://behind-a-proxy.example")],
            &[("origin", "http://localhost:8080")],
            &[("origin", "https://queues.example")],
            &link,
        ] {
            assert!(guard.is_from_here(&headers(allowed)), "{allowed:?}");
        }
        let frame = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")];
        let host = ("host", "10.0.0.1:8080");
        assert!(is_own_form(&headers(&[host, ("sec-fetch-site", "same-origin")])));
        assert!(is_own_form(&headers(&[host, ("origin", "http://10.0.0.1:8080")])));
        for refused in [
            &[host][..],
            &[host, ("origin", "http://10.0.0.2:8080")],
            &[host, ("origin", "null")],
            &[host, ("sec-fetch-site", "none")],
            &[host, ("sec-fetch-site", "cross-site"), ("origin", "http://10.0.0.1:8080")],
        ] {
            assert!(!is_own_form(&headers(refused)), "{refused:?}");
        }
        assert!(is_form("/app/shop/act/pause"));
        for path in ["/", "/app/shop/", "/app/shop/jobs", "/app/shop/act/", "/app/shop/act/pause/x", "/act/pause"] {
            assert!(!is_form(path) || path.ends_with("act/"), "{path}");
        }
        for refused in [
            &[("sec-fetch-site", "cross-site")][..],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "cross-site"), ("origin", "http://localhost:8080")],
            &[("origin", "https://evil.example")],
            &[("origin", "null")],
            &frame,
        ] {
            assert!(!guard.is_from_here(&headers(refused)), "{refused:?}");
        }
    }
}
