//! Outgoing frames of a connection, bounded in bytes: all connections of an app share one budget.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use tokio::sync::Notify;

/// Maximum number of unsent bytes of one app. The longest answer is a list, of which there is one at a time.
pub(super) const BUDGET: usize = 512 << 10;
/// Bytes charged for a frame besides its length.
const OVERHEAD: usize = 64;

/// Queue of outgoing frames.
#[derive(Debug)]
pub(super) struct Outbox {
    frames: RefCell<VecDeque<Vec<u8>>>,
    /// Charged bytes of this connection, including the frame that is being sent.
    held: Cell<usize>,
    /// Charged bytes of all connections of the app.
    of_app: Rc<Cell<usize>>,
    filled: Notify,
}

/// A frame that is being sent. It is charged until it is dropped.
#[derive(Debug)]
pub(super) struct Sending<'a> {
    outbox: &'a Outbox,
    pub(super) frame: Vec<u8>,
}

impl Outbox {
    /// An empty outbox, charged to the app's total `of_app`.
    pub(super) fn new(of_app: Rc<Cell<usize>>) -> Self {
        Self { frames: RefCell::default(), held: Cell::new(0), of_app, filled: Notify::new() }
    }

    /// Adds a frame; false if the budget is exhausted.
    pub(super) fn push(&self, frame: Vec<u8>) -> bool {
        let bytes = frame.len() + OVERHEAD;
        if self.of_app.get() + bytes > BUDGET {
            return false;
        }
        self.count(bytes, 0);
        self.frames.borrow_mut().push_back(frame);
        self.filled.notify_one();
        true
    }

    /// Waits for the next frame.
    pub(super) async fn next(&self) -> Sending<'_> {
        loop {
            let next = self.frames.borrow_mut().pop_front();
            if let Some(frame) = next {
                return Sending { outbox: self, frame };
            }
            self.filled.notified().await;
        }
    }

    fn count(&self, more: usize, less: usize) {
        self.held.set(self.held.get() + more - less);
        self.of_app.set(self.of_app.get() + more - less);
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        self.outbox.count(0, self.frame.len() + OVERHEAD);
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.of_app.set(self.of_app.get() - self.held.get());
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn an_app_has_one_budget_for_all_its_connections() {
        let of_app = Rc::new(Cell::new(0));
        let [first, second] = [(); 2].map(|()| Outbox::new(Rc::clone(&of_app)));
        assert!(first.push(vec![0; BUDGET / 2]));
        assert!(!second.push(vec![0; BUDGET / 2]));
        assert!(second.push(vec![0; BUDGET / 4]));
        let sending = first.next().now_or_never().unwrap();
        assert!(!second.push(vec![0; BUDGET / 2]), "what is being sent still counts");
        drop(sending);
        assert!(second.push(vec![0; BUDGET / 2]));
        assert!(first.next().now_or_never().is_none());
        drop(second);
        assert_eq!(of_app.get(), 0);
        let mut small = 0;
        while first.push(Vec::new()) {
            small += 1;
        }
        assert_eq!(small, BUDGET / OVERHEAD, "frames of no bytes are bounded too");
    }
}
