//! Tests with real processes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::*;
use kqueue_system::processes::ancestor_among;

fn alone<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let within = async { tokio::time::timeout(Duration::from_secs(60), test).await.expect("it came to its end") };
    tokio::task::LocalSet::new().block_on(&runtime, within)
}

/// Starts a process with this stream as stdout and stderr.
fn printing(into: &OwnedFd, program: &str, args: &[&str]) -> Child {
    let end = || Stdio::from(into.try_clone().unwrap());
    Command::new(program).args(args).stdin(Stdio::null()).stdout(end()).stderr(end()).spawn().unwrap()
}

impl Outputs {
    fn len(&self) -> usize {
        self.streams.borrow().len()
    }

    /// Reads all output until all streams have ended.
    async fn to_the_end(&self, who: &mut dyn FnMut(i32) -> WorkerId) -> Vec<Printed> {
        let mut all = Vec::new();
        while self.len() > 0 {
            self.ready().await;
            all.extend(self.read(who));
        }
        all
    }
}

#[test]
fn forks_that_print_at_the_same_time_are_kept_apart() {
    alone(async {
        let outputs = Outputs::new();
        let theirs = outputs.socket(0).unwrap();
        // Eight writers at once, each writing parts of lines separately.
        let script = "for n in $(seq 1 200); do printf \"$$ \"; printf $n >&2; printf ' end\\n'; done; printf last-$$";
        let mut children: Vec<_> = (0..8).map(|_| printing(&theirs, "sh", &["-c", script])).collect();
        drop(theirs);
        let lines = outputs.to_the_end(&mut |pid| pid as WorkerId).await;
        let mut of: BTreeMap<i32, Vec<&str>> = BTreeMap::new();
        for line in &lines {
            assert_eq!(line.worker, line.pid as WorkerId);
            of.entry(line.pid).or_default().push(&line.text);
        }
        // `seq` has written to a pipe of its own.
        assert_eq!(
            of.keys().copied().collect::<BTreeSet<_>>(),
            children.iter().map(|child| child.id() as i32).collect()
        );
        for (pid, lines) in of {
            let mut expected: Vec<_> = (1..=200).map(|n| format!("{pid} {n} end")).collect();
            expected.push(format!("last-{pid}"));
            assert_eq!(lines, expected);
        }
        children.iter_mut().for_each(|child| drop(child.wait()));
    });
}

#[test]
fn a_hundred_thousand_lines_all_come_and_in_turns() {
    alone(async {
        let outputs = Outputs::new();
        let theirs = outputs.pipe(7).unwrap();
        let mut child = printing(&theirs, "seq", &["1", "100000"]);
        drop(theirs);
        let (mut next, mut turns) = (1, 0);
        while outputs.len() > 0 {
            outputs.ready().await;
            let lines = outputs.read(&mut |_| unreachable!("the stream has an owner"));
            assert!(lines.iter().map(|line| line.text.len() + 1).sum::<usize>() <= 2 * TURN);
            for line in lines {
                assert_eq!((line.worker, line.text), (7, next.to_string()));
                next += 1;
            }
            turns += 1;
        }
        assert_eq!(next, 100_001);
        assert!(turns >= 588_895 / TURN);
        child.wait().unwrap();
    });
}

#[test]
fn what_a_grandchild_prints_finds_its_way() {
    alone(async {
        let outputs = Outputs::new();
        let theirs = outputs.socket(0).unwrap();
        // The grandchild lives until told to end, so that it can be looked up.
        let mut child = {
            let end = || Stdio::from(theirs.try_clone().unwrap());
            let script = "sh -c 'echo deep >&2; read x'; echo own";
            Command::new("sh").args(["-c", script]).stdin(Stdio::piped()).stdout(end()).stderr(end()).spawn().unwrap()
        };
        drop(theirs);
        let root = child.id() as i32;
        let mut who = |pid| ancestor_among(pid, |at| (at == root).then_some(5)).unwrap_or(0);
        let mut lines = Vec::new();
        while lines.is_empty() {
            outputs.ready().await;
            lines = outputs.read(&mut who);
        }
        assert_eq!((lines[0].worker, lines[0].text.as_str()), (5, "deep"));
        assert_ne!(lines[0].pid, root);
        writeln!(child.stdin.take().unwrap()).unwrap();
        let lines = outputs.to_the_end(&mut |_| 5).await;
        assert_eq!((lines[0].pid, lines[0].text.as_str()), (root, "own"));
        child.wait().unwrap();
    });
}

#[test]
fn all_that_was_printed_before_is_there_without_waiting() {
    alone(async {
        let outputs = Outputs::new();
        let theirs = outputs.pipe(3).unwrap();
        let mut child = printing(&theirs, "sh", &["-c", "seq 1 2000; printf 'no end'"]);
        child.wait().unwrap();
        outputs.begin();
        let mut never = |_| unreachable!();
        let lines = outputs.read_all_of(3, false, &mut never);
        assert_eq!(lines.len(), 2001);
        assert_eq!(lines[2000].text, "no end");
        // Within the same moment nothing new is read; in the next it is.
        let mut child = printing(&theirs, "echo", &["more"]);
        child.wait().unwrap();
        assert_eq!(outputs.read_all_of(3, false, &mut never), []);
        outputs.begin();
        assert_eq!(outputs.read_all_of(4, true, &mut never), []);
        assert_eq!(outputs.read_all_of(3, false, &mut never)[0].text, "more");
        drop(theirs);
        assert_eq!(outputs.to_the_end(&mut never).await, []);
    });
}

#[test]
fn nobody_ends_because_nobody_reads() {
    alone(async {
        let outputs = Outputs::new();
        let theirs = outputs.pipe(1).unwrap();
        drop(outputs);
        assert!(
            printing(&theirs, "sh", &["-c", "echo 1 && echo 2 >&2 && echo 3 >/dev/stderr"]).wait().unwrap().success()
        );
    });
}

#[test]
fn a_worker_prints_into_its_fifo_whether_or_not_somebody_reads() {
    alone(async {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("worker-4.out");
        // What `redirect_to_fifo` does, which would replace our own stdout.
        let theirs = source::fifo(&path).unwrap();
        let mut child = printing(&theirs, "sh", &["-c", "echo early; echo more >&2"]);
        child.wait().unwrap();
        let outputs = Outputs::new();
        let own = outputs.of_unit(directory.path(), 4, 9).unwrap();
        let mut never = |_| unreachable!();
        let mut lines = Vec::new();
        while lines.len() < 2 {
            outputs.ready().await;
            lines.extend(outputs.read(&mut never));
        }
        let said: Vec<_> = lines.iter().map(|line| (line.worker, line.text.as_str())).collect();
        assert_eq!(said, [(9, "early"), (9, "more")]);
        // All writers are gone, but the stream goes on: another process of this unit will open it.
        drop(theirs);
        outputs.begin();
        assert_eq!(outputs.read_all_of(9, false, &mut never), []);
        assert_eq!(outputs.len(), 1);
        let theirs = source::fifo(&path).unwrap();
        printing(&theirs, "echo", &["later"]).wait().unwrap();
        outputs.begin();
        assert_eq!(outputs.read_all_of(9, false, &mut never)[0].text, "later");
        drop(own);
        assert_eq!(outputs.len(), 0);
        assert!(path.exists());

        // A fork's FIFO is removed with it, unless the fork is to outlive us.
        let fork = outputs.of_fork(directory.path(), 11).unwrap();
        let theirs = source::fifo(&directory.path().join("fork-11.out")).unwrap();
        fork.leave();
        printing(&theirs, "echo", &["meanwhile"]).wait().unwrap();
        let fork = outputs.of_surviving_fork(directory.path(), 11).unwrap();
        outputs.begin();
        assert_eq!(outputs.read_all_of(11, true, &mut never)[0].text, "meanwhile");
        drop(fork);
        assert!(!directory.path().join("fork-11.out").exists());
    });
}

#[test]
fn what_is_no_fifo_is_refused() {
    alone(async {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("worker-1.out"), "").unwrap();
        std::os::unix::fs::symlink("/dev/null", directory.path().join("worker-2.out")).unwrap();
        for number in [1, 2] {
            assert!(Output::open_fifo(directory.path(), number).is_err());
            assert!(redirect_to_fifo(directory.path(), number).is_err());
        }
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(Output::from_fd(file.as_fd().try_clone_to_owned().unwrap()).is_err());
    });
}
