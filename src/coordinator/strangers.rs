//! Rate limits for connecting processes by user: of examinations, and of log lines about rejected connections. A flood
//! costs next to nothing, fills no log, and does not suppress the lines about other users.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Instant;

use super::bucket::Bucket;
use kqueue_system::harmless;
use kqueue_system::log::message_id;

/// Maximum number of users with limits of their own.
const USERS: usize = 64;

/// Rate limits by user.
#[derive(Debug)]
pub(super) struct Strangers {
    users: RefCell<BTreeMap<u32, User>>,
    /// Limit of lines about all users, including those without an entry.
    lines: RefCell<Bucket>,
}

#[derive(Debug)]
struct User {
    /// Limit of examined connections.
    looks: Bucket,
    lines: Bucket,
}

impl Default for Strangers {
    fn default() -> Self {
        Self { users: RefCell::default(), lines: RefCell::new(Bucket::new(200, 10, Instant::now())) }
    }
}

impl Strangers {
    /// Whether another connection of this user is examined. Those that are not are counted in the next line.
    pub(super) fn may_look(&self, user: u32) -> bool {
        let now = Instant::now();
        self.user(user, now, |user| {
            let may = user.looks.take(now).is_some();
            if !may {
                user.lines.leave_out();
            }
            may
        })
        .unwrap_or(true)
    }

    /// Logs a rejected connection, of `user` if known.
    pub(super) fn turned_away(&self, user: Option<u32>, who: &str, why: &str) {
        let Some(dropped) = self.may_write(user, Instant::now()) else { return };
        let others = if dropped > 0 { format!(" (and {dropped} more, not logged)") } else { String::new() };
        let (who, why) = (harmless::line(who, 200), harmless::line(why, 300));
        tracing::warn!(message_id = message_id::REFUSED, "refused {who}: {why}{others}");
    }

    /// Whether a line about this user may be logged, with the number of lines dropped since the last; `None` if not.
    fn may_write(&self, user: Option<u32>, now: Instant) -> Option<u64> {
        let own = user.and_then(|user| self.user(user, now, |user| user.lines.take(now)));
        let dropped = own.unwrap_or(Some(0))?;
        Some(self.lines.borrow_mut().take(now)? + dropped)
    }

    /// Calls `what` with the entry of a user; `None` if there is no room for another entry.
    fn user<T>(&self, user: u32, now: Instant, what: impl FnOnce(&mut User) -> T) -> Option<T> {
        let mut users = self.users.borrow_mut();
        if users.len() >= USERS && !users.contains_key(&user) {
            users.retain(|_, user| !user.looks.is_full(now) || !user.lines.is_full(now));
            if users.len() >= USERS {
                return None;
            }
        }
        let new = || User { looks: Bucket::new(256, 64, now), lines: Bucket::new(20, 1, now) };
        Some(what(users.entry(user).or_insert_with(new)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_flood_hides_nobody_else() {
        let (strangers, now) = (Strangers::default(), Instant::now());
        let written = (0..1000).filter(|_| strangers.may_write(Some(1), now).is_some()).count();
        assert_eq!(written, 20);
        assert_eq!(strangers.may_write(Some(2), now), Some(0));
        assert_eq!(strangers.may_write(Some(1), now + Duration::from_secs(2)), Some(980));
    }

    #[test]
    fn a_flood_is_not_looked_at() {
        let strangers = Strangers::default();
        let seen = (0..1000).filter(|_| strangers.may_look(1)).count();
        assert!((256..300).contains(&seen), "{seen}");
        assert!(strangers.may_look(2));
        let told = strangers.may_write(Some(1), Instant::now());
        assert!(told.is_some_and(|dropped| dropped >= 700), "{told:?}");
        // Users without an entry are not limited.
        assert!((0..1000).all(|user| strangers.may_look(user) || user == 1));
    }

    #[test]
    fn many_users_are_a_flood_too() {
        let (strangers, now) = (Strangers::default(), Instant::now());
        let written = (0..100_000).filter(|user| strangers.may_write(Some(*user), now).is_some()).count();
        assert_eq!(written, 200);
        assert!(strangers.users.borrow().len() <= USERS);
    }
}
