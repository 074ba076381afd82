//! Tests of the queue side with a scripted backend.

use std::cell::RefCell;
use std::path::Path;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::value::RawValue;

use super::*;
use crate::backend::{self, QueueSize, Wait};
use crate::runtime::testing::settings;

type Flags = Result<Vec<bool>, BackendError>;

/// Answers each call with the next scripted reply of its kind, and records the calls.
struct Scripted {
    batches: RefCell<VecDeque<Result<Reserved, BackendError>>>,
    flags: RefCell<VecDeque<Flags>>,
    calls: RefCell<Vec<String>>,
}

fn named(jobs: &[Reservation]) -> String {
    let body = |job: &Reservation| job.receipt.encode().body.map_or_else(Default::default, |body| body.to_vec());
    jobs.iter().map(|job| String::from_utf8(body(job)).unwrap()).collect::<Vec<_>>().join(" ")
}

impl Scripted {
    fn flags(&self, call: &str, jobs: &[Reservation]) -> Flags {
        self.calls.borrow_mut().push(format!("{call} {}", named(jobs)));
        self.flags.borrow_mut().pop_front().unwrap_or_else(|| Ok(vec![true; jobs.len()]))
    }
}

#[async_trait(?Send)]
impl QueueBackend for Scripted {
    fn driver(&self) -> &'static str {
        "redis"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { max_batch: 3, ..Capabilities::ALL }
    }

    async fn next_batch(&self, queues: &[String], max: usize, wait: &Wait) -> Result<Reserved, BackendError> {
        let next = self.batches.borrow_mut().pop_front();
        self.calls.borrow_mut().push(format!("reserve {max} of {}", queues.join(",")));
        match next {
            Some(answer) => answer,
            None => {
                let look = |limit| async move {
                    tokio::time::sleep(limit).await;
                    Ok(())
                };
                wait.first(look, async { Ok(Reserved::default()) }).await
            }
        }
    }

    fn decode(&self, _: Option<&RawValue>, _: &Bytes) -> Option<Receipt> {
        None
    }

    fn lease(&self) -> Option<Duration> {
        Some(Duration::from_secs(90))
    }

    async fn renew(&self, jobs: &mut [Reservation]) -> Flags {
        let flags = self.flags("renew", jobs);
        jobs.iter_mut().for_each(|job| job.receipt = receipt(&format!("{}'", named(std::slice::from_ref(job)))));
        flags
    }

    async fn requeue(&self, jobs: &[Reservation], to: &str) -> Flags {
        let flags = self.flags("requeue", jobs);
        self.calls.borrow_mut().last_mut().unwrap().push_str(&format!(" to {to}"));
        flags
    }

    async fn unreserve(&self, jobs: &[Reservation]) -> Flags {
        self.flags("unreserve", jobs)
    }

    async fn delete(&self, jobs: &[Reservation]) -> Flags {
        self.flags("delete", jobs)
    }

    async fn sizes(&self, queues: &[String]) -> Result<Vec<QueueSize>, BackendError> {
        Ok(vec![QueueSize::default(); queues.len()])
    }
}

fn receipt(body: &str) -> Receipt {
    let settings = r#"{"driver": "redis", "host": "localhost", "retry_after": 90}"#;
    let redis = backend::open(serde_json::from_str(settings).unwrap(), Default::default()).unwrap();
    Receipt::decode(&*redis, "redis", None, Bytes::copy_from_slice(body.as_bytes()))
}

fn job(id: JobId) -> (JobId, Reservation) {
    let payload = Bytes::from_static(b"{}");
    (id, Reservation { queue: "default".to_owned(), payload, receipt: receipt(&id.to_string()) })
}

fn found(ids: &[JobId]) -> Result<Reserved, BackendError> {
    Ok(Reserved { jobs: ids.iter().map(|id| job(*id).1).collect(), set_aside: Vec::new() })
}

fn unavailable<T>() -> Result<T, BackendError> {
    Err(BackendError::Unavailable { target: "redis".to_owned(), reason: "gone".to_owned() })
}

fn demand(jobs: usize) -> Demand {
    Demand { jobs, queues: ["default".to_owned()].into(), settled: 7 }
}

fn run<F: Future<Output = ()>>(test: impl FnOnce(QueueSide, Rc<Scripted>) -> F) {
    let app = tempfile::tempdir().unwrap();
    std::fs::write(app.path().join("artisan"), "").unwrap();
    let settings = settings(app.path(), &[]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (batches, flags, calls) = Default::default();
    let backend = Rc::new(Scripted { batches, flags, calls });
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let doorbell = Doorbell::bind(Path::new("/nonexistent"), backend.capabilities());
        test(QueueSide::new(backend.clone(), doorbell, &settings), backend).await;
    });
}

/// Handles the next reply; returns the events.
async fn answer(queue: &mut QueueSide) -> Vec<QueueEvent> {
    let input = queue.next().await;
    queue.handle(input);
    std::mem::take(&mut queue.events).into()
}

#[test]
fn jobs_are_reserved_in_bounded_calls_and_then_waited_for_until_somebody_rings() {
    run(|mut queue, backend| async move {
        backend.batches.borrow_mut().extend([found(&[1, 2]), found(&[])]);
        queue.reserve(demand(10));
        assert!(!queue.may_reserve(Instant::now()), "one call at a time");
        let events = answer(&mut queue).await;
        assert!(
            matches!(&events[..], [QueueEvent::Opened, QueueEvent::Reserved(jobs)] if jobs.len() == 2),
            "{events:?}"
        );
        queue.reserve(demand(1));
        let events = answer(&mut queue).await;
        assert!(matches!(events[..], [QueueEvent::Empty { settled: 7 }]), "{events:?}");
        // The next call waits. The doorbell ends it, and no `Empty` follows.
        queue.reserve(demand(1));
        assert!(queue.waits_for(|name| name == "default") && !queue.waits_for(|name| name == "other"));
        queue.handle(QueueInput::Rang);
        let events = answer(&mut queue).await;
        assert!(matches!(events[..], [QueueEvent::Rang]), "{events:?}");
        assert!(queue.may_reserve(Instant::now()));
        let calls = ["reserve 3 of default", "reserve 1 of default", "reserve 1 of default"];
        assert_eq!(*backend.calls.borrow(), calls);
    });
}

#[test]
fn what_could_not_be_removed_stays_at_the_head_of_the_next_call() {
    run(|mut queue, backend| async move {
        backend.flags.borrow_mut().push_back(unavailable());
        queue.remove([job(1)]);
        queue.settle();
        queue.remove([job(2)]);
        queue.settle();
        assert!(answer(&mut queue).await.is_empty());
        assert!(queue.is_removing() && queue.unsettled() == 2 && queue.wake().is_some());
        tokio::time::sleep(RETRY.0).await;
        queue.settle();
        let events = answer(&mut queue).await;
        assert!(matches!(&events[..], [QueueEvent::Removed(jobs)] if *jobs == [1, 2]), "{events:?}");
        assert_eq!(*backend.calls.borrow(), ["delete 1", "delete 1 2"]);
        assert!(queue.is_settled());
    });
}

fn back((job, reservation): (JobId, Reservation)) -> Return {
    Return { job, reservation, front: 0, to: None }
}

#[test]
fn what_goes_elsewhere_goes_by_calls_of_its_own_and_what_is_in_front_goes_first() {
    run(|mut queue, backend| async move {
        let mut jobs = [1, 2, 3, 4].map(|n| back(job(n)));
        jobs[0].to = Some("mail".to_owned());
        jobs[3].front = 1;
        queue.give_back(jobs);
        for at in 0..2 {
            queue.settle();
            let events = answer(&mut queue).await;
            let right = if at == 0 { &[1][..] } else { &[4, 2, 3] };
            assert!(matches!(&events[..], [QueueEvent::Returned(jobs)] if jobs == right), "{events:?}");
        }
        assert_eq!(*backend.calls.borrow(), ["requeue 1 to mail", "unreserve 4 2 3"]);
        assert!(queue.is_settled());
    });
}

#[test]
fn what_goes_back_goes_in_order_and_by_the_receipt_of_its_last_renewal() {
    run(|mut queue, backend| async move {
        queue.renew(vec![job(1), job(2)]);
        queue.give_back([job(2), job(1)].map(back));
        queue.settle();
        let events = answer(&mut queue).await;
        assert!(matches!(&events[..], [QueueEvent::Renewed(jobs)] if jobs.len() == 2), "{events:?}");
        // A call that brings jobs may bring some that belong behind these.
        backend.batches.borrow_mut().push_back(found(&[3]));
        queue.reserve(demand(1));
        queue.settle();
        answer(&mut queue).await;
        queue.settle();
        let events = answer(&mut queue).await;
        assert!(matches!(&events[..], [QueueEvent::Returned(jobs)] if *jobs == [1, 2]), "{events:?}");
        assert_eq!(*backend.calls.borrow(), ["renew 1 2", "reserve 1 of default", "unreserve 1' 2'"]);
    });
}

#[test]
fn an_outage_is_not_asked_again_at_once_and_has_an_end() {
    run(|mut queue, backend| async move {
        backend.batches.borrow_mut().extend([found(&[]), unavailable(), unavailable(), found(&[1])]);
        queue.reserve(demand(1));
        answer(&mut queue).await;
        for first in [true, false] {
            queue.reserve(demand(1));
            // Reported once.
            let said = answer(&mut queue).await;
            assert_eq!(matches!(said[..], [QueueEvent::Silent(_)]), first, "{said:?}");
            assert_eq!(said.is_empty(), !first, "{said:?}");
            assert!(!queue.may_reserve(Instant::now()) && queue.wake().is_some());
            assert!(queue.silence().is_some() && queue.error() == Some("redis: gone"));
        }
        queue.reserve(demand(1));
        assert!(matches!(answer(&mut queue).await[..], [QueueEvent::Answers, QueueEvent::Reserved(_)]));
        assert!(queue.silence().is_none() && queue.error().is_none());
    });
}

#[test]
fn settings_that_cannot_work_are_found_with_the_first_answer_and_an_outage_later() {
    run(|mut queue, backend| async move {
        let wrong = || Err(BackendError::Settings("wrong".to_owned()));
        backend.batches.borrow_mut().extend([wrong(), found(&[]), wrong()]);
        queue.reserve(demand(1));
        assert!(matches!(answer(&mut queue).await[..], [QueueEvent::Unusable(_)]));
        queue.reserve(demand(1));
        answer(&mut queue).await;
        queue.reserve(demand(1));
        assert!(matches!(answer(&mut queue).await[..], [QueueEvent::Silent(_)]) && queue.silence().is_some());
    });
}

#[test]
fn a_reservation_is_verified_until_the_queue_answers() {
    run(|mut queue, backend| async move {
        backend.flags.borrow_mut().extend([unavailable(), unavailable(), Ok(vec![false])]);
        let (id, reservation) = job(4);
        queue.verify(id, reservation);
        let events = answer(&mut queue).await;
        assert!(matches!(events[..], [QueueEvent::Verified { job: 4, ours: false, .. }]), "{events:?}");
        assert_eq!(backend.calls.borrow().len(), 3);
    });
}

#[test]
fn leases_are_renewed_when_a_third_of_them_is_over_and_one_call_at_a_time() {
    run(|mut queue, backend| async move {
        backend.batches.borrow_mut().push_back(found(&[1]));
        queue.reserve(demand(1));
        answer(&mut queue).await;
        let now = Instant::now();
        assert!(
            queue.wake().is_some_and(|at| at > now + Duration::from_secs(29) && at < now + Duration::from_secs(31))
        );
        queue.on_time(now + Duration::from_secs(31));
        assert!(matches!(queue.events.pop_front(), Some(QueueEvent::RenewalDue)));
        queue.renew(vec![job(1)]);
        queue.renew(vec![job(1)]);
        assert_eq!(queue.calls_under_way().map(|(name, _)| name).collect::<Vec<_>>(), ["renew leases"]);
        assert!(queue.leases.renewing.is_some() && queue.wake().is_some());
        answer(&mut queue).await;
        assert_eq!(*backend.calls.borrow(), ["reserve 1 of default", "renew 1"]);
    });
}
