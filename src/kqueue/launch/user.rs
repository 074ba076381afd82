//! Units of a user's own service manager (`systemctl --user`): the coordinator's task without the coordinator, as the
//! user's own rights suffice.
//!
//! There are no unit files: workers are transient services too. Memory limits apply where the controller is delegated
//! to the user's manager, as it is on a host with cgroup v2; elsewhere systemd ignores them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::Order;
use super::units::{UnitError, UnitNotice, Units};
use kqueue_core::wire::coordinator::{Listed, Purpose, Refusal, Unit, UnitLimits};
use kqueue_system::systemd::{Bus, Manager, NewScope, NewService, SystemdError, names, process};

/// How long a user manager may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// See the module.
#[derive(Clone, Debug)]
pub struct UserManager(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    manager: Rc<Manager>,
    app: String,
    worker_limits: UnitLimits,
    notices: mpsc::Sender<UnitNotice>,
    followed: RefCell<BTreeSet<String>>,
}

impl UserManager {
    /// Whether a user manager answers. Must be called on a `LocalSet`.
    pub async fn available() -> bool {
        matches!(timeout(PATIENCE, Manager::connect(Bus::User)).await, Ok(Ok(_)))
    }

    /// The units of `app`, each pooled worker within `worker_limits`. Notices go to `notices`; when the bus connection
    /// breaks that is `Lost`, and there is no reconnect. Must be called on a `LocalSet`.
    ///
    /// # Errors
    /// When no user manager answers.
    pub async fn connect(
        app: &str,
        worker_limits: UnitLimits,
        notices: mpsc::Sender<UnitNotice>,
    ) -> Result<Self, UnitError> {
        let manager = Manager::connect(Bus::User).await?;
        let lost = (Rc::clone(&manager), notices.clone());
        tokio::task::spawn_local(async move {
            lost.0.lost().await;
            let _ = lost.1.send(UnitNotice::Lost).await;
        });
        let followed = RefCell::default();
        Ok(Self(Rc::new(Inner { manager, app: app.to_owned(), worker_limits, notices, followed })))
    }

    fn follow(&self, unit: &Unit) {
        let name = unit.name(&self.0.app);
        if !self.0.followed.borrow_mut().insert(name.clone()) {
            return;
        }
        let (this, unit) = (Rc::clone(&self.0), unit.clone());
        tokio::task::spawn_local(async move {
            let end = this.manager.ended(&name).await;
            this.followed.borrow_mut().remove(&name);
            let _ = this.notices.send(UnitNotice::Ended { unit, end }).await;
        });
    }

    /// The unit's name, unless a watched unit has it.
    fn fresh(&self, unit: &Unit) -> Result<String, UnitError> {
        let name = unit.name(&self.0.app);
        match self.0.followed.borrow().contains(&name) {
            true => Err(UnitError { refusal: Refusal::Busy, text: format!("{name}: already exists") }),
            false => Ok(name),
        }
    }
}

impl From<SystemdError> for UnitError {
    fn from(error: SystemdError) -> Self {
        Self { refusal: error.refusal(), text: error.to_string() }
    }
}

#[async_trait(?Send)]
impl Units for UserManager {
    async fn start(&self, worker: u32, order: Option<&Order>) -> Result<i32, UnitError> {
        let unit = Unit::Worker(worker);
        let nothing = || UnitError { refusal: Refusal::Failed, text: format!("worker {worker}: no command to run") };
        let order = order.ok_or_else(nothing)?;
        let app = &self.0.app;
        let mut arguments = order.php_args.clone();
        arguments.extend([order.script.to_string_lossy().into_owned(), order.mode.to_string()]);
        let new = NewService {
            unit: self.fresh(&unit)?,
            slice: names::slice(app),
            description: format!("kqueue worker {worker} of {app}"),
            program: order.php.clone(),
            arguments,
            directory: order.directory.clone(),
            environment: order.environment.clone(),
            limits: self.0.worker_limits.clone(),
        };
        let pid = self.0.manager.start_transient(&new).await?;
        self.follow(&unit);
        Ok(pid)
    }

    fn workers_read_file(&self) -> bool {
        false
    }

    async fn kill(&self, unit: &Unit) -> Result<(), UnitError> {
        Ok(self.0.manager.kill(&unit.name(&self.0.app)).await?)
    }

    async fn scope(&self, name: &str, pid: i32, limits: &UnitLimits) -> Result<(), UnitError> {
        let unit = Unit::Scope(name.to_owned());
        let app = &self.0.app;
        let new = NewScope {
            unit: self.fresh(&unit)?,
            slice: names::slice(app),
            description: format!("kqueue job {name} of {app}"),
            pid,
            limits: limits.clone(),
        };
        let absent = || UnitError { refusal: Refusal::Absent, text: format!("process {pid}: does not exist") };
        let pidfd = process::hold(pid).ok_or_else(absent)?;
        self.0.manager.scope(&new, &pidfd).await?;
        self.follow(&unit);
        Ok(())
    }

    async fn watch(&self, units: &[Unit]) -> Result<(), UnitError> {
        units.iter().for_each(|unit| self.follow(unit));
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Listed>, UnitError> {
        let app = &self.0.app;
        let patterns = [format!("kqueue-worker@{app}:*.service"), format!("kqueue-{app}-*.scope")];
        let mut listed = Vec::new();
        for (name, state) in self.0.manager.list(&patterns.each_ref().map(String::as_str)).await? {
            let Some(unit) = Unit::of(app, &name) else { continue };
            let (pid, memory) = self.0.manager.inside(&name).await;
            listed.push(Listed { unit, state, pid, memory });
        }
        Ok(listed)
    }

    async fn purpose(&self) -> Result<Purpose, UnitError> {
        let own = self.0.manager.unit_of(std::process::id() as i32, None).await?;
        Ok(self.0.manager.purpose(&own).await?)
    }

    fn tell(&self, _priority: u8, _message: &str, _fields: BTreeMap<String, String>) {
        // There is no coordinator here, and the runtime's own journal has the line already.
    }
}
