//! The verbs: each request is checked against policy, carried out by systemd, and logged.

use std::rc::Rc;

use super::server::Caller;
use super::state::Coordinator;
use super::{policy, story};
use kqueue_core::wire::coordinator::{Answer, Listed, MAX_WATCH, Refusal, Unit, UnitLimits, Verb};
use kqueue_system::harmless;
use kqueue_system::log::message_id;
use kqueue_system::systemd::{NewScope, SystemdError, names, process};

/// Kind and text of an error.
type Refused = (Refusal, String);

/// Carries out a request, or returns the reason why not.
pub(super) async fn carry_out(
    coordinator: &Rc<Coordinator>,
    caller: &Caller,
    link: u64,
    verb: Verb,
) -> Result<Answer, Refused> {
    let asked = Asked { coordinator, caller, link };
    let done = match verb {
        Verb::Start { worker } => asked.start(worker).await,
        Verb::Kill { unit } => asked.kill(&unit).await,
        Verb::Scope { scope, pid, limits } => asked.scope(scope, pid, &limits).await,
        Verb::Watch { units } => asked.watch(&units),
        Verb::List => asked.list().await,
        Verb::Purpose => asked.purpose().await,
        Verb::Tell { message, priority, fields } => {
            if !caller.app.may_write() {
                return Err((Refusal::Busy, "too many log lines".to_owned()));
            }
            story::told(&caller.app.name, priority, &message, &fields);
            return Ok(Answer::default());
        }
    };
    if let Err((Refusal::Refused, why)) = &done
        && caller.app.may_write()
    {
        let (app, why) = (&caller.app.name, harmless::line(why, 300));
        tracing::warn!(message_id = message_id::REFUSED, kqueue_app = app, "{app}: refused: {why}");
    }
    done
}

/// The context of one request.
struct Asked<'a> {
    coordinator: &'a Rc<Coordinator>,
    caller: &'a Caller,
    link: u64,
}

impl Asked<'_> {
    async fn start(&self, worker: u32) -> Result<Answer, Refused> {
        policy::worker(&self.caps()?, worker).map_err(refused)?;
        let unit = Unit::Worker(worker);
        let name = self.name(&unit)?;
        if self.coordinator.is_watched(&name) {
            return self.start_of_one_that_is_there(&unit, &name).await;
        }
        self.has_room()?;
        self.coordinator.expect(&self.caller.app, &unit, self.link);
        match self.coordinator.host.start(&name).await {
            Ok(pid) => {
                self.log(&format!("{name}: started as process {pid}"));
                self.coordinator.follow(&self.caller.app, name);
                Ok(Answer { pid: Some(pid), ..Answer::default() })
            }
            // It may still become ready: its end is reported in any case.
            Err(error @ (SystemdError::Timeout(_) | SystemdError::Bus(_))) => {
                self.coordinator.follow(&self.caller.app, name);
                Err(failed(&error))
            }
            Err(error) => {
                self.coordinator.forget(&name);
                tracing::warn!(kqueue_app = self.caller.app.name, "{error}");
                Err(failed(&error))
            }
        }
    }

    /// Handles the start of a worker that is already watched: it is active, or in transition.
    async fn start_of_one_that_is_there(&self, unit: &Unit, name: &str) -> Result<Answer, Refused> {
        let units = self.coordinator.host.list(&[name]).await.map_err(|error| failed(&error))?;
        match units.first().map(|(_, state)| state.as_str()) {
            Some("active") => {
                self.coordinator.watch(&self.caller.app, unit, Some(self.link));
                let (pid, _) = self.coordinator.host.inside(name).await;
                Ok(Answer { pid: Some(pid), ..Answer::default() })
            }
            Some(state) => Err((Refusal::Busy, format!("{name}: {state}"))),
            None => Err((Refusal::Busy, format!("{name}: starting or ending"))),
        }
    }

    async fn kill(&self, unit: &Unit) -> Result<Answer, Refused> {
        let name = self.there(unit).await?;
        self.coordinator.host.kill(&name).await.map_err(|error| failed(&error))?;
        self.log(&format!("{name}: killed at the request of its runtime"));
        Ok(Answer::default())
    }

    async fn scope(&self, own: String, pid: i32, limits: &UnitLimits) -> Result<Answer, Refused> {
        let caps = self.caps()?;
        let limits = policy::scope(&caps, limits).map_err(refused)?;
        let unit = Unit::Scope(own);
        let name = self.name(&unit)?;
        if self.coordinator.is_watched(&name) || self.caller.app.end_of(&name).is_some() {
            return Err(refused(format!("{name}: this name was used before")));
        }
        let scopes = self.coordinator.count(&self.caller.app, |unit| matches!(unit, Unit::Scope(_)));
        policy::another_scope(&caps, scopes).map_err(refused)?;
        self.has_room()?;
        if pid <= 1 || pid == self.caller.pid {
            return Err(refused(format!("process {pid}: must not be moved into a scope")));
        }
        if !self.coordinator.placing.borrow_mut().insert(pid) {
            return Err(refused(format!("process {pid}: already being moved into a scope")));
        }
        self.coordinator.expect(&self.caller.app, &unit, self.link);
        let placed = self.place(&unit, &name, pid, limits).await;
        self.coordinator.placing.borrow_mut().remove(&pid);
        match placed {
            Ok(()) => self.coordinator.follow(&self.caller.app, name),
            Err(_) => self.coordinator.forget(&name),
        }
        placed.map(|()| Answer::default())
    }

    async fn place(&self, unit: &Unit, name: &str, pid: i32, limits: UnitLimits) -> Result<(), Refused> {
        let absent = || (Refusal::Absent, format!("process {pid}: no such process"));
        let pidfd = process::hold(pid).ok_or_else(absent)?;
        let of = match self.coordinator.host.unit_of(pid, Some(&pidfd)).await {
            Ok(of) => of,
            Err(error) if !process::is_alive(&pidfd) => return Err((Refusal::Absent, error.to_string())),
            Err(error) => return Err(failed(&error)),
        };
        // This also excludes a process that was moved into a scope before. A worker may run a job that it has popped.
        let is_worker = matches!(Unit::of(&self.caller.app.name, &of), Some(Unit::Worker(_)));
        if of != self.caller.unit && !is_worker {
            return Err(refused(format!("process {pid}: belongs to {of}, not to {}", self.caller.unit)));
        }
        match process::user(pid) {
            Some(user) if user == self.caller.user => {}
            _ if !process::is_alive(&pidfd) => return Err(absent()),
            _ => return Err(refused(format!("process {pid}: does not run as user {}", self.caller.user))),
        }
        let app = &self.caller.app.name;
        let Unit::Scope(own) = unit else { return Err(refused(format!("{name}: not a scope"))) };
        let new = NewScope {
            unit: name.to_owned(),
            slice: names::slice(app),
            description: format!("kqueue job {own} of {app}"),
            pid,
            limits,
        };
        self.coordinator.host.scope(&new, &pidfd).await.map_err(|error| {
            tracing::warn!(kqueue_app = app, "{name}: {error}");
            failed(&error)
        })?;
        self.log(&format!("{name}: process {pid}, {}", story::limits(&new.limits)));
        Ok(())
    }

    fn watch(&self, units: &[Unit]) -> Result<Answer, Refused> {
        if units.len() > MAX_WATCH {
            return Err(refused(format!("{} units to watch: at most {MAX_WATCH} are allowed", units.len())));
        }
        for unit in units {
            let name = self.name(unit)?;
            if !self.coordinator.is_watched(&name) {
                self.has_room()?;
            }
            self.coordinator.watch(&self.caller.app, unit, Some(self.link));
        }
        Ok(Answer::default())
    }

    async fn list(&self) -> Result<Answer, Refused> {
        let app = &self.caller.app;
        // Skip pending lists of a closed connection, so that they do not delay the next runtime.
        let _turn = app.listing.acquire().await;
        if !self.coordinator.is_connected(self.link) {
            return Err((Refusal::Absent, "the connection is closed".to_owned()));
        }
        let mut listed = Vec::new();
        for (unit, name, state) in self.coordinator.units_of(app).await.map_err(|error| failed(&error))? {
            let (pid, memory) = self.coordinator.host.inside(&name).await;
            listed.push(Listed { unit, state, pid, memory });
        }
        Ok(Answer { units: Some(listed), ..Answer::default() })
    }

    async fn purpose(&self) -> Result<Answer, Refused> {
        let purpose = self.coordinator.host.purpose(&self.caller.unit).await.map_err(|error| failed(&error))?;
        Ok(Answer { purpose: Some(purpose), ..Answer::default() })
    }

    fn caps(&self) -> Result<policy::Caps, Refused> {
        self.coordinator.caps(&self.caller.app.name).map_err(refused)
    }

    /// The unit's systemd name. It contains the caller's app, so the unit is its own.
    fn name(&self, unit: &Unit) -> Result<String, Refused> {
        policy::unit(unit).map_err(refused)?;
        Ok(unit.name(&self.caller.app.name))
    }

    /// The systemd name of an existing unit. Checked here because systemd would load one that does not exist.
    async fn there(&self, unit: &Unit) -> Result<String, Refused> {
        let name = self.name(unit)?;
        if !self.coordinator.is_watched(&name) {
            let units = self.coordinator.host.list(&[&name]).await.map_err(|error| failed(&error))?;
            if units.is_empty() {
                return Err((Refusal::Absent, format!("{name}: no such unit")));
            }
        }
        Ok(name)
    }

    fn has_room(&self) -> Result<(), Refused> {
        if self.caller.app.is_ending.get() {
            return Err((Refusal::Busy, "remaining units of the app are being stopped".to_owned()));
        }
        match self.coordinator.is_full(&self.caller.app) {
            true => Err((Refusal::Busy, "too many units of this app".to_owned())),
            false => Ok(()),
        }
    }

    fn log(&self, line: &str) {
        if self.caller.app.may_write() {
            tracing::info!(kqueue_app = self.caller.app.name, "{line}");
        }
    }
}

fn refused(why: String) -> Refused {
    (Refusal::Refused, why)
}

fn failed(error: &SystemdError) -> Refused {
    (error.refusal(), error.to_string())
}
