//! Selects how lanes and isolated jobs get their processes: forked from which kind of template, or started.

use serde_json::value::RawValue;

use super::Processes;
use kqueue_core::wire::{Held, TemplateOrder, Unforkable};

/// What processes are forked from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// A template that has booted the app.
    Booted,
    /// A template that stopped before the app's providers boot: each fork boots them itself.
    Early,
    /// Nothing: processes are started one by one.
    Never,
}

/// See the module.
#[derive(Debug)]
pub struct Forking {
    stage: Stage,
    /// Whether PHP can fork and the settings allow it.
    possible: bool,
    /// The classes that the app has loaded after booting.
    classes: Option<Box<RawValue>>,
    /// A job waits for the next template, so it is to boot fast.
    pub hurry: bool,
    /// Whether forks of the next template share compiled code. To put it where they can takes a quarter of a boot.
    pub share: bool,
    /// The resources held by the app that were logged last.
    told: Vec<Held>,
}

impl Forking {
    /// Begins with a template that boots the app, if forking is possible.
    pub fn new(possible: bool) -> Self {
        let stage = if possible { Stage::Booted } else { Stage::Never };
        Self { stage, possible, classes: None, hurry: false, share: true, told: Vec::new() }
    }

    /// PHP cannot fork.
    pub fn rule_out(&mut self) {
        *self = Self::new(false);
    }

    /// Whether processes are forked at all.
    pub fn is_on(&self) -> bool {
        self.stage != Stage::Never
    }

    /// Falls back to the next stage, after a template has reported that it must not be forked.
    pub fn step_down(&mut self, why: Unforkable) {
        let held: Vec<_> = why.held.iter().map(describe).collect();
        let held = held.join(", ");
        let (stage, instead) = match self.stage {
            Stage::Booted => (Stage::Early, "each fork boots the app's providers itself"),
            Stage::Early | Stage::Never => (Stage::Never, "processes are started one by one"),
        };
        if self.told != why.held {
            tracing::warn!(
                "while booting, the app opens resources that processes must not share: {held}; {instead}, \
                 which takes longer. Open them on first use, or list them in fork_safe_peers if they may be shared"
            );
            self.told = why.held;
        }
        self.classes = why.classes.or(self.classes.take());
        self.stage = stage;
    }

    /// Starts over with a template that boots the app, since its code may have changed. False where nothing is forked.
    pub fn start_over(&mut self) -> bool {
        if self.possible {
            self.stage = Stage::Booted;
            self.classes = None;
        }
        self.possible
    }

    /// The order for the next template.
    pub fn order<'a>(&'a self, safe: &'a [String]) -> TemplateOrder<'a> {
        TemplateOrder { early: self.stage == Stage::Early, hurry: self.hurry, classes: self.classes.as_deref(), safe }
    }

    /// Description for the log.
    pub fn words(&self) -> &'static str {
        match self.stage {
            Stage::Booted => "processes forked from a template",
            Stage::Early => "processes forked from a template before the app's providers boot",
            Stage::Never => "processes started one by one",
        }
    }
}

fn describe(held: &Held) -> String {
    match &held.opened {
        Some(opened) => format!("{} (opened {opened})", held.name),
        None => held.name.clone(),
    }
}

impl Processes {
    /// The template `pid` must not be forked: starts the other kind of template, or gives up templates.
    pub fn cannot_fork(&mut self, pid: i32, why: Unforkable) {
        if !self.templates.is(pid) {
            return;
        }
        self.recipe.forking.step_down(why);
        if self.recipe.forking.is_on() {
            self.retire_template();
            self.start_template();
            return;
        }
        for (worker, mode) in self.templates.dismiss() {
            if let Some(known) = self.workers.get_mut(&worker) {
                known.forked = false;
                known.own = None;
                self.start_process(worker, mode);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(name: &str) -> Unforkable {
        let held = Held { name: name.to_owned(), opened: Some("while Shop boots".to_owned()) };
        let classes = RawValue::from_string("[\"A\"]".to_owned()).ok();
        Unforkable { held: vec![held], classes }
    }

    #[test]
    fn each_step_is_the_next_safe_one() {
        let mut forking = Forking::new(true);
        assert!(forking.is_on() && !forking.order(&[]).early);
        forking.step_down(holds("127.0.0.1:6379"));
        assert!(forking.is_on());
        let order = forking.order(&[]);
        assert!(order.early && order.classes.is_some_and(|classes| classes.get() == "[\"A\"]"));
        forking.step_down(Unforkable { classes: None, ..holds("pipe") });
        assert!(!forking.is_on());
        assert!(forking.start_over() && forking.is_on() && !forking.order(&[]).early);
        forking.rule_out();
        assert!(!forking.start_over() && !forking.is_on());
    }
}
