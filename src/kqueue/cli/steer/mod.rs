//! What operators do to a running app, on its control socket.
//!
//! Exit codes: 0 done, 1 refused or not done, 3 the app does not run, 4 there is no such app.

pub(super) mod alert;
pub(super) mod failed;
pub(super) mod pause;
