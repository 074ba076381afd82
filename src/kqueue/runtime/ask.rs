//! What is asked on the control socket, and who answers it.

use kqueue_control::Request;

use super::Runtime;
use crate::control::{Ask, unable};

impl Runtime {
    pub(super) fn answer(&mut self, Ask { request, owner, who, answer }: Ask) {
        match request {
            Request::Snapshot => self.tell_snapshot(answer),
            Request::Act(act) if owner || self.settings.operators => self.pause(act, &who, answer),
            Request::Act(_) => {
                let why = "only the app's user and root may do that, and the group kqueue where the app's file in \
                           /etc/kqueue says operators = true";
                drop(answer.send(unable(why)));
            }
            _ => drop(answer.send(unable("not yet"))),
        }
    }
}
