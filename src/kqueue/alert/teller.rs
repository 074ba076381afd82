//! Tells each target one message after the other, beside whoever has them to tell.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use kqueue_config::Alerts as Targets;
use kqueue_core::backoff::Backoff;
use tokio::sync::mpsc;

use super::{Message, Target, Untold, tell};

/// Messages that may wait for one target.
const WAITING: usize = 64;
/// For how long a message is tried.
const LONGEST: Duration = Duration::from_secs(1800);
/// Between two tries.
const DELAYS: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(300));

/// See the module.
#[derive(Debug)]
pub struct Teller {
    targets: Rc<RefCell<Targets>>,
    senders: Vec<(Target, mpsc::Sender<Rc<Message>>)>,
}

impl Teller {
    /// To be called where tasks of this thread can be started.
    pub fn new(targets: Targets) -> Self {
        Self { targets: Rc::new(RefCell::new(targets)), senders: Vec::new() }
    }

    /// These are the targets from now on.
    pub fn configure(&self, targets: Targets) {
        self.targets.replace(targets);
    }

    /// Tells the journal at once, and each target in turn.
    pub fn tell(&mut self, message: Message) {
        message.log();
        let message = Rc::new(message);
        for target in Target::ALL.into_iter().filter(|target| target.is_in(&self.targets.borrow())) {
            if !self.senders.iter().any(|(known, _)| *known == target) {
                let (sender, receiver) = mpsc::channel(WAITING);
                tokio::task::spawn_local(work(target, self.targets.clone(), receiver));
                self.senders.push((target, sender));
            }
            let sender = self.senders.iter().find(|(known, _)| *known == target);
            if sender.is_some_and(|(_, sender)| sender.try_send(message.clone()).is_err()) {
                tracing::warn!(
                    "alert {}: {} notification dropped: too many are pending",
                    message.alert,
                    target.as_str()
                );
            }
        }
    }
}

async fn work(target: Target, targets: Rc<RefCell<Targets>>, mut messages: mpsc::Receiver<Rc<Message>>) {
    while let Some(message) = messages.recv().await {
        let current = || targets.borrow().clone();
        if let Err(untold) = persist(target, current, &message).await {
            tracing::warn!("alert {}: {} notification failed: {untold}", message.alert, target.as_str());
        }
    }
}

/// Tells one target, again and again where that may help.
async fn persist(target: Target, targets: impl Fn() -> Targets, message: &Message) -> Result<(), Untold> {
    let (begun, mut backoff) = (Instant::now(), Backoff::new(DELAYS.0, DELAYS.1));
    loop {
        match tell(target, &targets(), message).await {
            Err(Untold::Later(why)) if begun.elapsed() < LONGEST => {
                let delay = backoff.failed();
                tracing::debug!("{}: {why}; retrying in {} s", target.as_str(), delay.as_secs());
                tokio::time::sleep(delay).await;
            }
            told => return told,
        }
    }
}

/// Tells every target that the settings name, as long as it takes or until `patience` is over. What went wrong, by target.
pub async fn tell_all(targets: &Targets, message: &Message, patience: Duration) -> Vec<(Target, String)> {
    let one = |target: Target| async move {
        let told = tokio::time::timeout(patience, persist(target, || targets.clone(), message)).await;
        let why = match told {
            Ok(told) => told.err()?.to_string(),
            Err(_) => format!("not delivered within {} s", patience.as_secs()),
        };
        Some((target, why))
    };
    let named = Target::ALL.into_iter().filter(|target| target.is_in(targets));
    futures_util::future::join_all(named.map(one)).await.into_iter().flatten().collect()
}
