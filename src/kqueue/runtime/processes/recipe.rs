//! How a PHP process of the app is started, and its first frame.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use kqueue_config::{Settings, Start};
use kqueue_core::schedule::WorkerId;
use kqueue_core::wire::{Mode, Parts, ToWorker};

use super::forking::Forking;
use crate::launch::Order;

/// See the module.
#[derive(Debug)]
pub struct Recipe {
    settings: Rc<Settings>,
    pub forking: Forking,
    /// Whether pooled and isolated processes outlive the runtime, and reconnect.
    redial: bool,
    /// Arguments of `queue:work` for every process.
    arguments: Vec<String>,
    /// Our PHP program.
    script: PathBuf,
    /// Environment of every process.
    environment: BTreeMap<String, String>,
}

impl Recipe {
    /// `socket`: the path that processes connect to.
    pub fn new(settings: Rc<Settings>, script: PathBuf, socket: &Path, redial: bool) -> Self {
        let environment = [("KQUEUE_SOCKET", socket), ("KQUEUE_DIRECTORY", &settings.runtime_dir)]
            .map(|(name, path)| (name.to_owned(), path.to_string_lossy().into_owned()))
            .into();
        let forking = Forking::new(settings.start == Start::Fork);
        Self { arguments: arguments(&settings), settings, forking, redial, script, environment }
    }

    /// Applies new settings. True if the arguments of processes have changed.
    pub fn configure(&mut self, settings: Rc<Settings>) -> bool {
        let arguments = arguments(&settings);
        self.settings = settings;
        std::mem::replace(&mut self.arguments, arguments) != self.arguments
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The launch order for one process.
    pub fn order(&self, worker: WorkerId, mode: Mode) -> Order {
        let mut environment = self.environment.clone();
        environment.insert("KQUEUE_WORKER".to_owned(), worker.to_string());
        Order {
            worker,
            mode,
            php: self.settings.php.clone(),
            php_args: self.settings.php_args.clone(),
            script: self.script.clone(),
            directory: self.settings.path.clone(),
            hurry: self.forking.hurry,
            share: self.forking.share,
            environment,
        }
    }

    /// The first frame to a process that was started and not forked.
    pub fn welcome(&self, mode: Mode) -> Parts {
        ToWorker::Welcome {
            path: &self.settings.path.to_string_lossy(),
            connection: self.settings.connection.as_deref(),
            arguments: &self.arguments,
            redial: self.redial,
            umask: self.settings.umask,
            template: (mode == Mode::Template).then(|| self.forking.order(&self.settings.fork_safe_peers)),
        }
        .encode()
    }

    /// The frame that orders the template to fork a process.
    pub fn fork(&self, worker: WorkerId, mode: Mode) -> Parts {
        ToWorker::Fork { worker: &worker.to_string(), mode, arguments: &self.arguments }.encode()
    }
}

/// Arguments of `queue:work`. Sleeping, restarts and maintenance mode are handled by the runtime: it checks the signals
/// once for all processes, and delivers jobs when there are some.
fn arguments(settings: &Settings) -> Vec<String> {
    let mut arguments: Vec<String> = settings.connection.iter().cloned().collect();
    let timeout = settings.timeout.map_or(0, |timeout| timeout.as_secs());
    arguments.push("--name=kqueue".to_owned());
    if !settings.queues.is_empty() {
        arguments.push(format!("--queue={}", settings.queues.join(",")));
    }
    arguments.extend([
        "--sleep=0".to_owned(),
        format!("--tries={}", settings.tries),
        format!("--timeout={timeout}"),
        format!("--backoff={}", settings.backoff),
        format!("--memory={}", settings.worker_memory),
        "--force".to_owned(),
    ]);
    arguments
}
