//! kqueue runs the queued jobs of Laravel applications on Linux, under systemd.
//!
//! It replaces the engine (`php artisan queue:work` under a process manager), never the queue: jobs stay
//! where Laravel put them, in Laravel's own format, and Laravel itself runs them.
//!
//! This crate is the program without privileges: the command line, and the runtime of one app. Its decisions are made
//! in `kqueue_core`, which has no clock and no I/O. The privileged service is `kqueue_coordinator`, which is not linked
//! here.
#![doc = include_str!("../architecture.md")]

mod alert;
mod backend;
mod cli;
mod control;
mod history;
mod kept;
mod launch;
mod runtime;
mod survey;
mod workers;

pub use cli::main;
