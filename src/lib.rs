//! kqueue runs the queued jobs of Laravel applications on Linux, under systemd.
//!
//! It replaces the engine (`php artisan queue:work` under a process manager), never the queue: jobs stay
//! where Laravel put them, in Laravel's own format, and Laravel itself runs them.
//!
//! `payload`, `routing`, `schedule` and `wire` are pure: no clock, no I/O, no knowledge of tokio, sockets
//! or systemd. Everything else feeds them events and carries out their actions.

pub mod backend;
pub mod cli;
pub mod config;
pub mod control;
pub mod coordinator;
#[cfg(test)]
mod fuzz;
pub mod generator;
pub mod harmless;
pub mod identity;
pub mod launch;
pub mod log;
pub mod payload;
pub mod routing;
pub mod runtime;
pub mod schedule;
pub mod survey;
pub mod systemd;
pub mod wire;
pub mod workers;
