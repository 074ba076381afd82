//! What is asked on the control socket, and who answers it.

use kqueue_control::Request;

use super::Runtime;
use crate::control::{Ask, unable};

impl Runtime {
    pub(super) fn answer(&self, Ask { request, answer, .. }: Ask) {
        match request {
            Request::Snapshot => self.tell_snapshot(answer),
            _ => drop(answer.send(unable("not yet"))),
        }
    }
}
