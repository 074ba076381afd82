//! The coordinator's calls to systemd, as a trait: the rest of the coordinator can be tested without systemd.

use std::os::fd::OwnedFd;

use async_trait::async_trait;

use kqueue_core::wire::coordinator::{Purpose, UnitEnd};
use kqueue_system::systemd::{Manager, NewScope, SystemdError};

/// The methods of [`Manager`] that the coordinator uses, documented there.
#[async_trait(?Send)]
pub(super) trait Host {
    async fn unit_of(&self, pid: i32, pidfd: Option<&OwnedFd>) -> Result<String, SystemdError>;
    async fn main_pid(&self, unit: &str) -> Result<i32, SystemdError>;
    async fn start(&self, unit: &str) -> Result<i32, SystemdError>;
    async fn stop(&self, unit: &str) -> Result<(), SystemdError>;
    async fn kill(&self, unit: &str) -> Result<(), SystemdError>;
    async fn reset(&self, unit: &str) -> Result<(), SystemdError>;
    async fn scope(&self, new: &NewScope, pidfd: &OwnedFd) -> Result<(), SystemdError>;
    async fn list(&self, patterns: &[&str]) -> Result<Vec<(String, String)>, SystemdError>;
    async fn inside(&self, unit: &str) -> (i32, Option<u64>);
    async fn purpose(&self, unit: &str) -> Result<Purpose, SystemdError>;
    async fn ended(&self, unit: &str) -> UnitEnd;
    async fn stopped(&self, unit: &str);
    async fn rest(&self, unit: &str) -> Result<Option<String>, SystemdError>;
}

#[async_trait(?Send)]
impl Host for Manager {
    async fn unit_of(&self, pid: i32, pidfd: Option<&OwnedFd>) -> Result<String, SystemdError> {
        Manager::unit_of(self, pid, pidfd).await
    }
    async fn main_pid(&self, unit: &str) -> Result<i32, SystemdError> {
        Manager::main_pid(self, unit).await
    }
    async fn start(&self, unit: &str) -> Result<i32, SystemdError> {
        Manager::start(self, unit).await
    }
    async fn stop(&self, unit: &str) -> Result<(), SystemdError> {
        Manager::stop(self, unit).await
    }
    async fn kill(&self, unit: &str) -> Result<(), SystemdError> {
        Manager::kill(self, unit).await
    }
    async fn reset(&self, unit: &str) -> Result<(), SystemdError> {
        Manager::reset(self, unit).await
    }
    async fn scope(&self, new: &NewScope, pidfd: &OwnedFd) -> Result<(), SystemdError> {
        Manager::scope(self, new, pidfd).await
    }
    async fn list(&self, patterns: &[&str]) -> Result<Vec<(String, String)>, SystemdError> {
        Manager::list(self, patterns).await
    }
    async fn inside(&self, unit: &str) -> (i32, Option<u64>) {
        Manager::inside(self, unit).await
    }
    async fn purpose(&self, unit: &str) -> Result<Purpose, SystemdError> {
        Manager::purpose(self, unit).await
    }
    async fn ended(&self, unit: &str) -> UnitEnd {
        Manager::ended(self, unit).await
    }
    async fn stopped(&self, unit: &str) {
        Manager::stopped(self, unit).await;
    }
    async fn rest(&self, unit: &str) -> Result<Option<String>, SystemdError> {
        Manager::rest(self, unit).await
    }
}
