//! A pause in words. Pure.

use super::super::show::moment;
use kqueue_control::Queue;
use kqueue_system::harmless;

/// Maximum bytes of an operator's name, so that the end of the pause is still shown.
const NAME: usize = 40;

/// That a queue is paused, by whom and until when, as known: `paused by alice until 14:00`. `None`: it is not paused.
/// `at`: when this was reported, in seconds since 1970.
pub(in crate::cli) fn paused(queue: &Queue, at: u64) -> Option<String> {
    if !queue.paused {
        return None;
    }
    let Some(by) = &queue.paused_by else { return Some("paused".to_owned()) };
    let who = match (by.by.as_str(), by.user.as_deref().unwrap_or_default()) {
        ("app", _) => " by the app".to_owned(),
        ("horizon", _) => " by Horizon".to_owned(),
        ("operator", "") => " by an operator".to_owned(),
        ("operator", user) => format!(" by {}", harmless::line(user, NAME)),
        // A newer runtime may name others.
        _ => String::new(),
    };
    let until = by.until.map(|until| format!(" until {}", minute(until, at))).unwrap_or_default();
    Some(format!("paused{who}{until}"))
}

/// The minute by which that point in time has passed; with its date unless it is on the same day as `at`.
fn minute(epoch: u64, at: u64) -> String {
    let text = moment(epoch.div_ceil(60).saturating_mul(60));
    let text = text.strip_suffix(":00").unwrap_or(&text);
    match (text.split_once(' '), moment(at).split_once(' ')) {
        (Some((day, time)), Some((today, _))) if day == today => time.to_owned(),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kqueue_control::Paused;

    /// Noon in UTC, at which two minutes are of the same day in every time zone.
    const NOON: u64 = 993_600;

    fn by(by: &str, user: Option<&str>, until: Option<u64>) -> String {
        let by = Paused { by: by.to_owned(), user: user.map(str::to_owned), until, every: false };
        paused(&Queue { paused: true, paused_by: Some(by), ..Queue::default() }, NOON).unwrap()
    }

    #[test]
    fn who_has_paused_it() {
        assert_eq!(paused(&Queue::default(), NOON), None);
        assert_eq!(paused(&Queue { paused: true, ..Queue::default() }, NOON).unwrap(), "paused");
        assert_eq!(by("app", None, None), "paused by the app");
        assert_eq!(by("horizon", None, None), "paused by Horizon");
        assert_eq!(by("operator", Some("alice"), None), "paused by alice");
        assert_eq!(by("operator", None, None), "paused by an operator");
        assert_eq!(by("the\u{1b}moon", Some("x\u{1b}"), None), "paused");
        assert_eq!(by("operator", Some("al\u{1b}\n\u{202e}ice"), None), "paused by al   ice");
        let long = by("operator", Some(&"a".repeat(999)), Some(u64::MAX));
        assert!(long.ends_with("a… until ?") && long.len() < 80, "{long}");
    }

    #[test]
    fn until_when() {
        let today = moment(NOON + 60);
        let time = &today[11..16];
        assert_eq!(by("operator", Some("alice"), Some(NOON + 60)), format!("paused by alice until {time}"));
        // Rounded up: a pause does not end after the time that is shown.
        assert_eq!(by("operator", Some("alice"), Some(NOON + 1)), format!("paused by alice until {time}"));
        let later = moment(NOON + 2 * 86_400);
        let shown = by("operator", Some("alice"), Some(NOON + 2 * 86_400));
        assert_eq!(shown, format!("paused by alice until {}", &later[..16]));
    }
}
