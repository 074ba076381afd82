//! Mount points of pages, and links between pages.

use crate::query::encoded;

/// How a page is kept up to date by its script.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Live {
    /// The server sends changes as events.
    Events,
    /// The script reloads the page periodically.
    #[default]
    Poll,
}

/// A mount point.
#[derive(Clone, Debug, Default)]
pub struct Mount {
    /// The prefix of links to the root: relative to the current page (`../../`), or the path at which an app has
    /// mounted it (`/kqueue/`).
    root: String,
    /// The app, if there may be others beside it.
    app: Option<String>,
    /// How pages are kept up to date.
    pub live: Live,
    /// The token in forms; `None` if the viewer may not act.
    token: Option<String>,
}

impl Mount {
    /// The mount of all apps of a host. `path` is the requested path, from the root: links are relative to it, so that
    /// the root may be anywhere.
    pub fn of_host(path: &str, app: Option<&str>) -> Self {
        let depth = path.trim_start_matches('/').matches('/').count();
        let root = if depth == 0 { "./".to_owned() } else { "../".repeat(depth) };
        Self { root, app: app.map(str::to_owned), live: Live::Events, token: None }
    }

    /// The mount of one app alone, at `base`: `/kqueue`.
    pub fn of_app(base: &str) -> Self {
        Self { root: format!("{}/", base.trim_end_matches('/')), app: None, live: Live::Poll, token: None }
    }

    /// Allows actions. Forms carry this token, unless it is empty.
    #[must_use]
    pub fn acting(self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self }
    }

    /// The token in forms; `None` if there are no forms.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Whether this is the mount of a host, with other apps beside this one.
    pub fn is_host(&self) -> bool {
        self.live == Live::Events
    }

    /// A link to a page below the root.
    pub fn root(&self, path: &str) -> String {
        match (path, self.root.as_str()) {
            ("", "/") => "/".to_owned(),
            ("", root) if root.starts_with('/') => root.trim_end_matches('/').to_owned(),
            (path, root) => format!("{root}{path}"),
        }
    }

    /// A link to a page of the app.
    pub fn page(&self, path: &str) -> String {
        match &self.app {
            Some(app) => self.root(&format!("app/{app}/{path}")),
            None => self.root(path),
        }
    }

    /// A link to a page of the app with this query; empty fields are left out.
    pub fn link(&self, path: &str, query: &[(&str, &str)]) -> String {
        let query = encoded(query.iter().copied());
        if query.is_empty() { self.page(path) } else { format!("{}?{query}", self.page(path)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_to_the_same_place_from_everywhere() {
        let at = |path| Mount::of_host(path, Some("shop"));
        assert_eq!(at("/").root(""), "./");
        assert_eq!(at("/app/shop/").page("jobs"), "../../app/shop/jobs");
        assert_eq!(at("/app/shop").page(""), "../app/shop/");
        assert_eq!(at("/app/shop/jobs").root("static/a.css"), "../../static/a.css");
        let class = at("/app/shop/jobs").link("class", &[("name", r"App\Jobs\A&B"), ("none", "")]);
        assert_eq!(class, r"../../app/shop/class?name=App%5CJobs%5CA%26B");
    }

    #[test]
    fn an_app_mounts_it_where_it_likes() {
        for base in ["/kqueue", "/kqueue/"] {
            let mount = Mount::of_app(base);
            assert_eq!((mount.page(""), mount.page("jobs")), ("/kqueue".to_owned(), "/kqueue/jobs".to_owned()));
        }
        assert_eq!((Mount::of_app("/").page(""), Mount::of_app("").page("jobs")), ("/".to_owned(), "/jobs".to_owned()));
    }
}
