use std::path::Path;

use bytes::Bytes;
use kqueue_core::routing::Tier;
use kqueue_core::schedule::{JobKind, Outcome};
use kqueue_core::wire::Mode;

use super::*;
use crate::backend::{self, QueueBackend};

/// A backend that does not connect.
fn backend() -> Box<dyn QueueBackend> {
    let settings = r#"{"driver": "redis", "host": "localhost", "retry_after": 90}"#;
    backend::open(serde_json::from_str(settings).unwrap(), Default::default()).unwrap()
}

fn receipt(member: &str) -> Receipt {
    Receipt::decode(&*backend(), "redis", None, Bytes::copy_from_slice(member.as_bytes()))
}

fn reservation(class: &str) -> Reservation {
    let payload = format!(
        r#"{{"uuid":"u-{class}","displayName":"{class}","job":"Illuminate\\Queue\\CallQueuedHandler@call","data":{{"commandName":"{class}"}}}}"#
    );
    Reservation { queue: "default".to_owned(), receipt: receipt(&payload), payload: payload.into() }
}

fn given(worker: WorkerId) -> Given {
    Given { worker, mode: Mode::Pooled, unit: None, pid: 42, at: epoch_ms() - 5_000, kind: JobKind::Run }
}

fn finished(job: JobId, outcome: Outcome) -> Finished {
    Finished { job, tier: Tier::Pooled, route: None, outcome, kind: JobKind::Run, ms: 3, cause: None }
}

fn open(directory: &Path) -> (HeldJobs, BTreeMap<JobId, Held>) {
    let (ledger, left) = Ledger::open(directory, &*backend()).unwrap();
    (HeldJobs::new(Some(ledger), 100), left)
}

#[test]
fn what_one_runtime_holds_the_next_one_inherits() {
    let directory = tempfile::tempdir().unwrap();
    let (mut held, _) = open(directory.path());
    let ids: Vec<JobId> = ["Runs", "Waits", "Done", "Gone"]
        .iter()
        .map(|class| held.admit(reservation(class), Reading::default(), |_| false).id)
        .collect();
    let [runs, waits, done, gone] = ids[..] else { panic!("{ids:?}") };
    held.given(runs, given(7));
    held.given(waits, given(8));
    held.waits_again(waits);
    assert_eq!(held.acknowledge(done).map(|reservation| reservation.payload.len()), Some(0));
    assert!(held.finish(&finished(gone, Outcome::Released)).is_some());
    held.write(false);
    drop(held);

    let (mut held, left) = open(directory.path());
    let inherited = held.inherit(left, Reading::default());
    assert_eq!(inherited.finished.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [done]);
    assert_eq!(inherited.waiting, [waits]);
    let [(spec, place, ran_ms)] = &inherited.running[..] else { panic!("{inherited:?}") };
    assert_eq!((spec.id, spec.class.as_str(), place.worker), (runs, "Runs", 7));
    assert!((5_000..60_000).contains(ran_ms), "{ran_ms}");
    assert!(held.get(runs).is_some_and(|record| record.delivered.is_some()));
    assert!(held.get(gone).is_none() && held.get(done).is_none());
    // Job ids continue after those of the earlier runtime.
    assert!(held.admit(reservation("Next"), Reading::default(), |_| false).id > done);
}

#[test]
fn a_job_is_acknowledged_once_and_not_renewed_after_that() {
    let mut held = HeldJobs::new(None, 1);
    let id = held.admit(reservation("A"), Reading::default(), |_| false).id;
    let other = held.admit(reservation("B"), Reading::default(), |_| false).id;
    assert_eq!(held.leased().len(), 2);
    assert!(held.acknowledge(id).is_some() && held.acknowledge(id).is_none());
    assert_eq!(held.leased().iter().map(|(id, _)| *id).collect::<Vec<_>>(), [other]);
    // The reservation of a finished job is expected to be gone.
    assert!(!held.renewed(id, receipt(""), false));
    assert!(held.renewed(other, receipt(""), false));
    assert_eq!(held.leased(), []);
    held.verified(other, receipt("new"));
    assert_eq!(held.leased().len(), 1);
    held.returning(&[other]);
    assert_eq!(held.leased(), []);
    held.returned(vec![other]);
    assert!(held.get(other).is_none());
}

#[test]
fn what_left_is_counted_and_logged_when_its_unit_has_ended() {
    let mut held = HeldJobs::new(None, 1);
    let id = held.admit(reservation("A"), Reading::default(), |_| false).id;
    let end = finished(id, Outcome::Done);
    let record = held.finish(&end).unwrap();
    assert!(held.finish(&end).is_none());
    assert_eq!(held.tally().values().sum::<u64>(), 1);
    held.log_later(5, record, end);
    assert!(held.unlogged(4).is_none());
    assert_eq!(held.unlogged(5).map(|(record, _)| record.uuid), Some("u-A".to_owned()));
    assert_eq!(held.all_unlogged().count(), 0);
}

#[test]
fn a_class_that_is_missing_gives_way_to_its_wrapper() {
    let mut held = HeldJobs::new(None, 1);
    let mut mail = reservation("App\\\\Mail\\\\Gone");
    mail.payload =
        br#"{"displayName":"App\\Mail\\Gone","job":"Illuminate\\Queue\\CallQueuedHandler@call","data":{"commandName":"Vendor\\Wrapper"}}"#
            [..]
            .into();
    let first = held.admit(mail.clone(), Reading::default(), |_| false);
    let second = held.admit(mail, Reading::default(), |class| class == "App\\Mail\\Gone");
    assert_eq!(first.class, "App\\Mail\\Gone");
    assert_eq!(second.class, "Vendor\\Wrapper");
    held.are_missing(&[first.class]);
    assert!(held.iter().all(|(_, record)| record.class == second.class));
}
