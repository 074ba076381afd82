//! `kqueue quarantine`: classes that have killed processes, and run isolated for that.

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use crate::cli::see::{self, Target, Which, as_json, print_json, print_text};
use crate::cli::show::{Style, Table, moment};
use crate::cli::{Failed, USAGE, complete};
use kqueue_control::{Act, Quarantine, Request};

#[derive(Debug, Args)]
pub(in crate::cli) struct Asked {
    #[command(flatten)]
    which: Which,
    /// What to do: list the quarantined classes, or lift the quarantine of one
    #[arg(value_enum, default_value = "list", hide_possible_values = true)]
    act: What,
    /// The class to lift; its last part is enough
    #[arg(add = complete::classes())]
    class: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    List,
    Lift,
}

pub(in crate::cli) fn run(asked: Asked) -> Result<ExitCode, Failed> {
    match (asked.act, asked.class) {
        (What::Lift, Some(class)) => super::act(&asked.which, Act::Lift { class }, asked.json),
        (What::Lift, None) => Err(Failed { code: USAGE, line: "no class given; see: kqueue quarantine".to_owned() }),
        (What::List, Some(_)) => Err(Failed { code: USAGE, line: "list takes no class: it shows all".to_owned() }),
        (What::List, None) => {
            let here = see::surroundings()?;
            let told: Quarantine = see::wait(async {
                Target::find(&asked.which.request(), &here).await?.ask(&Request::Quarantine).await
            })??;
            if asked.json {
                return print_json(&as_json(&told));
            }
            print_text(&list(&told, Style::of_stdout()), &[])
        }
    }
}

fn list(told: &Quarantine, style: Style) -> String {
    let mut table = Table::new(&["CLASS", ">CRASHES", "LAST CRASH", ">RUNS"]);
    for class in &told.classes {
        let last = class.last_crash.map(moment).unwrap_or_default();
        table.row([class.class.clone(), class.crashes.to_string(), last, class.runs.to_string()]);
    }
    if table.is_empty() {
        return if style.columns { "no class is in quarantine\n".to_owned() } else { String::new() };
    }
    table.show(style)
}

#[cfg(test)]
pub(in crate::cli) mod tests {
    use super::*;
    use kqueue_control::QuarantinedClass;

    fn told() -> Quarantine {
        let class = "App\\Jobs\\Kills\u{1b}".to_owned();
        Quarantine { version: 1, classes: vec![QuarantinedClass { class, crashes: 2, last_crash: Some(9), runs: 40 }] }
    }

    /// What is printed as JSON.
    pub fn printed() -> serde_json::Value {
        as_json(&told())
    }

    #[test]
    fn classes_in_quarantine() {
        let text = list(&told(), Style::default());
        assert!(text.contains("\nApp\\Jobs\\Kills") && text.ends_with("\t40\n"), "{text}");
        assert!(!text.contains('\u{1b}') && text.contains("\t2\t1970-01-01"), "{text}");
        assert_eq!(list(&Quarantine::default(), Style::default()), "");
    }
}
