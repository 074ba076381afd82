//! The runtime as a service: what the service manager and the operator are told, and what they may ask for.

pub mod health;
pub mod history;
pub mod horizon;
pub mod observe;
pub mod reload;
pub mod trouble;
pub mod upgrade;
