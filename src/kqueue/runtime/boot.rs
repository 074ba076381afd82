//! The first template: started before everything else, since it describes the app.

use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::sync::mpsc;

use super::INPUTS;
use super::app::Description;
use super::failure::StartFailure;
use super::processes::recipe::Recipe;
use super::processes::template::Templates;
use crate::launch::output::Outputs;
use crate::launch::{Exit, LaunchEvent, Launcher};
use crate::workers::Said;
use kqueue_config::Settings;
use kqueue_core::wire::{FromWorker, Mode};
use kqueue_system::log::PHP_TARGET;

/// State until the first template is ready.
pub struct Boot {
    /// Messages of other processes meanwhile: those of an earlier runtime.
    pub early: Vec<Said>,
    pub settings: Rc<Settings>,
    pub said: mpsc::Receiver<Said>,
    pub launched: mpsc::Receiver<LaunchEvent>,
    pub outputs: Rc<Outputs>,
    pub launcher: Rc<dyn Launcher>,
}

impl Boot {
    /// Starts the first template and reads its description of the app. If it must not be forked, starts the other kind
    /// of template.
    pub async fn template(&mut self, recipe: &mut Recipe) -> anyhow::Result<(Description, Templates)> {
        let mut templates = Templates::new();
        let order = recipe.order(0, Mode::Template);
        let mut pid = self.launcher.start(&order).await?;
        // There is no earlier one to kill.
        let _ = templates.started(pid, order.share);
        let mut described = None;
        let in_time = || tokio::time::Instant::now() + self.settings.boot_timeout;
        let mut deadline = in_time();
        let path = self.settings.path.display();
        let mut printed: Vec<String> = Vec::new();
        let mut ended = None;
        loop {
            tokio::select! {
                biased;
                Some(said) = self.said.recv() => match said {
                    Said::Hello { worker: 0, peer, outbox, .. } if peer.pid == pid || kqueue_system::processes::descends_from(peer.pid, pid) => {
                        outbox.send(recipe.welcome(Mode::Template));
                        templates.connected(peer.pid, outbox);
                    }
                    Said::Message { worker: 0, message: FromWorker::Ready { app: said, unforkable, .. }, pid: speaker } => {
                        if let Some(said) = said {
                            let description: Description =
                                serde_json::from_str(said.get()).context("cannot parse the app's description")?;
                            if !description.fork {
                                recipe.forking.rule_out();
                            }
                            described = Some(description);
                        }
                        if recipe.forking.is_on() && !unforkable.held.is_empty() {
                            recipe.forking.step_down(unforkable);
                            // It has no children.
                            if let Some(pid) = templates.retire() {
                                self.launcher.kill(pid);
                            }
                            if recipe.forking.is_on() {
                                pid = self.launcher.start(&order).await?;
                                let _ = templates.started(pid, order.share);
                                deadline = in_time();
                                continue;
                            }
                        }
                        templates.ready(speaker);
                        let description = described.context("the template process did not describe the app")?;
                        return Ok((description, templates));
                    }
                    Said::Closed { worker: 0, pid: speaker, .. } if !templates.is(speaker) => {
                        templates.gone(speaker);
                    }
                    // It has printed why, its output may still be on its way, and it ends now.
                    Said::Message { worker: 0, message: FromWorker::BootFailed(failure), .. } if failure.class == "exit" => {}
                    Said::Message { worker: 0, message: FromWorker::BootFailed(failure), .. } => {
                        return Err(StartFailure::said(&self.settings.path, &failure).into());
                    }
                    said if self.early.len() < INPUTS => self.early.push(said),
                    _ => {}
                },
                Some(event) = self.launched.recv() => match event {
                    // Its last messages may still be on their way.
                    LaunchEvent::Ended { exit, pid: ending, .. } if ending == pid => ended = Some(exit),
                    LaunchEvent::Ended { .. } => {}
                },
                () = self.outputs.ready() => {
                    for line in self.outputs.read(&mut |_| 0) {
                        tracing::warn!(target: PHP_TARGET, "{}", line.text);
                        printed.push(line.text);
                        printed.truncate(20);
                    }
                }
                () = tokio::time::sleep(Duration::from_millis(300)), if ended.is_some() => {
                    let how = match ended {
                        Some(Exit::Signal(signal)) => format!("was killed by signal {signal}"),
                        Some(Exit::Code(code)) => format!("exited with status {code}"),
                        None => String::new(),
                    };
                    let how = format!("{} {how}", self.settings.php.display());
                    return Err(StartFailure::ended(&self.settings.path, &how, &printed).into());
                }
                () = tokio::time::sleep_until(deadline) => {
                    bail!("the app at {path} did not boot within {} s (boot_timeout)", self.settings.boot_timeout.as_secs());
                }
            }
        }
    }
}
