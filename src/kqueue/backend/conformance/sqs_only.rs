//! Behaviour of SQS: message groups, batches that fail in part, the limit of every lease, and error replies.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::ports::free_port;
use super::sqs::{ACCOUNT, SqsFixture, settings};
use super::{Fixture, NO_TIMEOUTS, TIMEOUTS, job, jobs, payloads, queues, reserve, take};
use crate::backend::sqs::testing;
use crate::backend::{BackendError, ConnectionSettings, QueueBackend, SqsBackend, SqsSettings, Wait, open};
use kqueue_config::Pop;

async fn push_to_group(f: &SqsFixture, queue: &str, group: &str, name: &str) {
    let body = String::from_utf8(job(name)).unwrap();
    let call = f.client().send_message().queue_url(f.url(queue)).message_body(body);
    call.message_group_id(group).message_deduplication_id(name).send().await.unwrap();
}

#[tokio::test]
async fn groups_keep_their_order_whatever_becomes_of_a_job() {
    let f = SqsFixture::start().await;
    let b = f.backend();
    for (group, name) in [("a", "a1"), ("a", "a2"), ("b", "b1"), ("a", "a3"), ("b", "b2")] {
        push_to_group(&f, "mail.fifo", group, name).await;
    }
    let next = async || payloads(&reserve(&b, &["mail.fifo"], 10).await.jobs);
    // One message of each group, and none behind it while it is held.
    let first = reserve(&b, &["mail.fifo"], 10).await.jobs;
    assert_eq!(payloads(&first), jobs(&["a1"]));
    let second = reserve(&b, &["mail.fifo"], 10).await.jobs;
    assert_eq!(payloads(&second), jobs(&["b1"]));
    assert!(next().await.is_empty());
    // Given back, it comes first again.
    assert_eq!(b.unreserve(&first).await.unwrap(), [true]);
    let again = reserve(&b, &["mail.fifo"], 10).await.jobs;
    assert_eq!((payloads(&again), again[0].receipt.attempts()), (jobs(&["a1"]), Some(2)));
    // Released with a delay, as by Laravel's job class, it blocks its group.
    let hide = f.client().change_message_visibility().queue_url(f.url("mail.fifo"));
    hide.receipt_handle(testing::handle(&again[0])).visibility_timeout(2).send().await.unwrap();
    assert!(next().await.is_empty());
    assert_eq!(b.delete(&second).await.unwrap(), [true]);
    assert_eq!(next().await, jobs(&["b2"]));
    let wait = Wait::up_to(Duration::from_secs(30));
    let released = b.next_batch(&queues(&["mail.fifo"]), 10, &wait).await.unwrap().jobs;
    assert_eq!(payloads(&released), jobs(&["a1"]));
    assert_eq!(b.delete(&released).await.unwrap(), [true]);
    assert_eq!(next().await, jobs(&["a2"]));
}

#[tokio::test]
async fn what_is_no_job_is_hidden_ever_longer() {
    let f = SqsFixture::start().await;
    let b = f.backend();
    let broken: [&[u8]; 5] = [b"not JSON", br#"["job"]"#, br#"{"uuid":"x","attempts":0}"#, b"7", br#"{"job":["x"]}"#];
    for payload in broken {
        f.push("default", payload).await;
    }
    f.push("default", &job("a")).await;
    // Laravel resolves it to the payload that it has stored elsewhere.
    let pointer = br#"{"@pointer":"laravel:sqs-payloads:1"}"#;
    f.push("default", pointer).await;
    let found = reserve(&b, &["default"], 10).await;
    let mut ran = payloads(&found.jobs);
    ran.sort();
    assert_eq!(ran, [pointer.to_vec(), job("a")]);
    assert_eq!(found.set_aside.len(), 5);
    for aside in &found.set_aside {
        assert!(aside.now.contains("hidden for 90 s") && aside.why.starts_with("it is not "), "{aside:?}");
    }
    assert_eq!(b.delete(&found.jobs).await.unwrap(), [true, true]);
    assert!(f.messages("default").iter().all(|message| message["state"] == "reserved"));

    // Each time it comes back, it is hidden for twice as long.
    let mut seen = Vec::new();
    for _ in 0..3 {
        f.turn("default", r#"{"do":"expire"}"#);
        seen.push(reserve(&b, &["default"], 10).await.set_aside[0].now.clone());
    }
    for (now, seconds) in seen.iter().zip([180, 360, 720]) {
        assert!(now.contains(&format!("hidden for {seconds} s")), "{now}");
    }

    // Strict pop passes them on, as Laravel does, which fails them itself.
    f.turn("default", r#"{"do":"expire"}"#);
    let strict = SqsBackend::connect(f.settings(), Pop::Strict).unwrap();
    assert_eq!(reserve(&strict, &["default"], 10).await.jobs.len(), 5);
}

#[tokio::test]
async fn impossible_timeouts_are_no_jobs() {
    let f = SqsFixture::start().await;
    let b = f.backend();
    for timeout in TIMEOUTS.iter().chain(&NO_TIMEOUTS) {
        f.push("a", format!(r#"{{"job":"x","timeout":{timeout}}}"#).as_bytes()).await;
    }
    let (mut ran, mut aside) = (0, 0);
    loop {
        let found = reserve(&b, &["a"], 10).await;
        if found.is_empty() {
            break;
        }
        ran += found.jobs.len();
        aside += found.set_aside.len();
    }
    assert_eq!((ran, aside), (TIMEOUTS.len(), NO_TIMEOUTS.len()));
}

#[tokio::test]
async fn a_message_is_held_for_twelve_hours_and_no_longer() {
    let f = SqsFixture::start().await;
    let b = f.backend();
    f.push("default", &job("a")).await;
    let mut mine = take(&b, &["default"], 1).await;
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    assert_eq!(b.capabilities().max_lease, Some(hours(12)));
    // 40 s before the limit it is renewed for the remaining time, less SLACK.
    mine[0].receipt = testing::aged(&mine[0], hours(12) - Duration::from_secs(40));
    assert_eq!(b.renew(&mut mine).await.unwrap(), [true]);
    let due = f.messages("default")[0]["due"].as_i64().unwrap() - crate::backend::epoch_seconds();
    assert!((20..=30).contains(&due), "hidden for {due} s");
    mine[0].receipt = testing::aged(&mine[0], hours(12));
    assert_eq!(b.renew(&mut mine).await.unwrap(), [false]);
    // A finished job is deleted nevertheless.
    assert_eq!(b.delete(&mine).await.unwrap(), [true]);
    assert!(f.messages("default").is_empty());
}

#[tokio::test]
async fn a_queue_that_does_not_exist_holds_up_no_other() {
    let server = Canned::start();
    let missing = r#"{"__type":"com.amazonaws.sqs#QueueDoesNotExist","message":"The specified queue does not exist."}"#;
    server.say("GetQueueAttributes", 200, ATTRIBUTES);
    server.say("ReceiveMessage", 200, MESSAGE);
    server.say("GetQueueAttributes missing", 400, missing);
    let b = server.backend();
    for _ in 0..2 {
        let found = b.next_batch(&queues(&["missing", "default"]), 1, &Wait::none()).await.unwrap();
        assert_eq!(found.jobs.len(), 1);
    }
    // The queue is left out meanwhile.
    assert_eq!(server.heard().iter().filter(|call| call.contains("missing")).count(), 1);
    match b.next_batch(&queues(&["missing"]), 1, &Wait::none()).await {
        Err(BackendError::Refused { what, fix }) => {
            assert!(what.contains("/missing: the queue does not exist") && fix.contains("`prefix`"), "{what}; {fix}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn says_which_call_and_what_to_do() {
    let coral = |name: &str| format!(r#"{{"__type":"com.amazon.coral.service#{name}","message":"because"}}"#);
    let cases = [
        (400, coral("AccessDeniedException"), "ReceiveMessage on http", "sqs:ReceiveMessage"),
        (403, coral("AccessDenied"), "is not permitted", "sqs:ReceiveMessage"),
        (400, coral("RequestThrottled"), "throttled (RequestThrottled: because)", "quota"),
        (400, coral("ThrottlingException"), "is throttled", "quota"),
        (403, coral("InvalidClientTokenId"), "InvalidClientTokenId: because", "`key` and `secret`"),
        (403, coral("UnrecognizedClientException"), "UnrecognizedClientException", "AWS_ACCESS_KEY_ID"),
        (403, coral("ExpiredTokenException"), "ExpiredToken", "role"),
        (400, coral("RequestExpired"), "ReceiveMessage", "clock is wrong"),
        (
            403,
            coral("InvalidSignatureException").replace("because", "Signature expired: a is now earlier than b"),
            "expired",
            "clock is wrong",
        ),
        (
            403,
            coral("SignatureDoesNotMatch")
                .replace("because", "Credential should be scoped to a valid region, not 'x'."),
            "scoped",
            "`region`",
        ),
        (404, coral("InvalidAddress"), "InvalidAddress", "`prefix`"),
        (503, String::new(), "ReceiveMessage: HTTP 503", ""),
        (500, coral("InternalError"), "InternalError: because (HTTP 500)", ""),
        (200, "<html>nonsense</html>".to_owned(), "invalid SQS reply to ReceiveMessage (HTTP 200)", ""),
        (502, "<html>Bad Gateway</html>".to_owned(), "HTTP 502", ""),
    ];
    for (status, body, part, fix) in cases {
        let server = Canned::start();
        server.say("GetQueueAttributes", 200, ATTRIBUTES);
        server.say("ReceiveMessage", status, &body);
        let error = server.backend().next_batch(&queues(&["default"]), 1, &Wait::none()).await.unwrap_err();
        let said = error.to_string();
        assert!(said.contains(part) && said.contains(fix), "{status} {body}: {said}");
        assert!(!said.contains('\n') && !said.contains("  "), "{said}");
        let is_outage = fix.is_empty() || ["quota", "clock is wrong"].contains(&fix);
        assert_eq!(matches!(error, BackendError::Unavailable { .. }), is_outage, "{error:?}");
    }
}

#[tokio::test]
async fn works_without_the_permission_to_ask_for_attributes() {
    let server = Canned::start();
    let denied = r#"{"__type":"com.amazon.coral.service#AccessDeniedException","message":"no"}"#;
    server.say("GetQueueAttributes", 400, denied);
    server.say("ReceiveMessage", 200, MESSAGE);
    let b = server.backend();
    let found = b.next_batch(&queues(&["default"]), 1, &Wait::none()).await.unwrap();
    assert_eq!((found.jobs.len(), b.lease()), (1, Some(Duration::from_secs(60))));
    let heard = server.heard();
    assert!(
        heard.iter().any(|call| call.contains("ReceiveMessage") && call.contains(r#""VisibilityTimeout":60"#)),
        "{heard:?}"
    );
    let error = b.sizes(&queues(&["default"])).await.unwrap_err().to_string();
    assert!(error.contains("sqs:GetQueueAttributes"), "{error}");
}

#[tokio::test]
async fn a_batch_may_fail_in_part() {
    let server = Canned::start();
    server.say("GetQueueAttributes", 200, ATTRIBUTES);
    server.say("ReceiveMessage", 200, MESSAGE);
    let b = server.backend();
    let mut mine = Vec::new();
    for _ in 0..3 {
        mine.extend(b.next_batch(&queues(&["default"]), 1, &Wait::none()).await.unwrap().jobs);
    }
    let part = |fault: bool, code: &str| {
        format!(
            r#"{{"Successful":[{{"Id":"0"}},{{"Id":"2"}}],"Failed":[{{"Id":"1","SenderFault":{fault},"Code":"{code}","Message":"m"}}]}}"#
        )
    };
    for lost in ["ReceiptHandleIsInvalid", "InvalidParameterValue", "AWS.SimpleQueueService.MessageNotInflight"] {
        server.say("ChangeMessageVisibilityBatch", 200, &part(true, lost));
        assert_eq!(b.renew(&mut mine).await.unwrap(), [true, false, true], "{lost}");
    }
    // After a failure of SQS itself the whole batch is tried again.
    for again in [part(false, "InternalError"), part(true, "RequestThrottled")] {
        server.say("DeleteMessageBatch", 200, &again);
        let error = b.delete(&mine).await.unwrap_err();
        assert!(matches!(&error, BackendError::Unavailable { reason, .. } if reason.contains("in part")), "{error}");
    }
    server.say("DeleteMessageBatch", 200, &part(true, "ReceiptHandleIsInvalid"));
    assert_eq!(b.delete(&mine).await.unwrap(), [true, false, true]);
    let denied = r#"{"__type":"com.amazon.coral.service#AccessDeniedException","message":"no"}"#;
    for (call, action) in
        [("ChangeMessageVisibilityBatch", "sqs:ChangeMessageVisibility"), ("DeleteMessageBatch", "sqs:DeleteMessage")]
    {
        server.say(call, 400, denied);
        let error = match call {
            "DeleteMessageBatch" => b.delete(&mine[1..2]).await.unwrap_err(),
            _ => b.unreserve(&mine[1..2]).await.unwrap_err(),
        };
        assert!(error.to_string().contains(action), "{error}");
    }
}

#[tokio::test]
async fn settings_that_cannot_work_are_said_before_any_call() {
    let json = |rest: &str| {
        let text = format!(r#"{{"driver":"sqs","prefix":"https://a/1"{rest}}}"#);
        open(serde_json::from_str::<ConnectionSettings>(&text).unwrap(), Pop::Safe).err().map(|error| error.to_string())
    };
    assert_eq!(json(r#","region":"eu-west-1""#), None);
    assert!(json("").unwrap().contains("`region`"));
    let own = r#"{"driver":"sqs","region":"x","provider":"App\\Keys"}"#;
    assert!(matches!(serde_json::from_str(own).unwrap(), ConnectionSettings::Native));
    let secret = SqsSettings { secret: Some("geheim".to_owned()), token: Some("geheim".to_owned()), ..settings(1, "") };
    assert!(!format!("{secret:?}").contains("geheim"));
}

#[tokio::test]
async fn without_credentials_that_is_said() {
    // There is no endpoint for this container's role.
    let settings = SqsSettings { key: None, provider: Some("ecs".to_owned()), ..settings(free_port(), "") };
    let b = SqsBackend::connect(settings, Pop::Safe).unwrap();
    match b.next_batch(&queues(&["default"]), 1, &Wait::none()).await {
        Err(BackendError::Refused { what, fix }) => {
            assert!(what.contains("no credentials are found") && fix.contains("AWS_ACCESS_KEY_ID"), "{what}; {fix}");
            assert!(!what.contains('\n'), "{what}");
        }
        other => panic!("{other:?}"),
    }
}

const ATTRIBUTES: &str = r#"{"Attributes":{"VisibilityTimeout":"30","ApproximateNumberOfMessages":"0"}}"#;
const MESSAGE: &str = r#"{"Messages":[{"MessageId":"m","ReceiptHandle":"h","Body":"{\"job\":\"x\"}",
    "Attributes":{"ApproximateReceiveCount":"1"}}]}"#;

/// A server with canned replies.
struct Canned {
    port: u16,
    /// Replies by call, or by call and queue.
    answers: Arc<Mutex<HashMap<String, (u16, String)>>>,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Canned {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server =
            Self { port: listener.local_addr().unwrap().port(), answers: Arc::default(), heard: Arc::default() };
        let (answers, heard) = (server.answers.clone(), server.heard.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (answers, heard) = (answers.clone(), heard.clone());
                std::thread::spawn(move || serve(stream, &answers, &heard));
            }
        });
        server
    }

    fn say(&self, to: &str, status: u16, body: &str) {
        self.answers.lock().unwrap().insert(to.to_owned(), (status, body.to_owned()));
    }

    /// The calls received, each with the request's body.
    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    fn backend(&self) -> SqsBackend {
        SqsBackend::connect(settings(self.port, ""), Pop::Safe).unwrap()
    }
}

fn serve(stream: TcpStream, answers: &Mutex<HashMap<String, (u16, String)>>, heard: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut call, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if line == "\r\n" {
                break;
            }
            let (name, value) = line.split_once(':').unwrap_or_default();
            match name.to_ascii_lowercase().as_str() {
                "x-amz-target" => value.trim().trim_start_matches("AmazonSQS.").clone_into(&mut call),
                "content-length" => length = value.trim().parse().unwrap(),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let body = String::from_utf8(body).unwrap();
        let queue =
            body.split_once(&format!("{ACCOUNT}/")).and_then(|(_, rest)| rest.split('"').next()).unwrap_or_default();
        let answers = answers.lock().unwrap();
        let found = answers.get(&format!("{call} {queue}")).or_else(|| answers.get(&call));
        let (status, answer) = found.cloned().unwrap_or_else(|| panic!("no answer to {call} {queue}"));
        drop(answers);
        heard.lock().unwrap().push(format!("{call} {body}"));
        let head = format!(
            "HTTP/1.1 {status} Said\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: {}\r\n\r\n",
            answer.len()
        );
        if reader.get_mut().write_all((head + &answer).as_bytes()).is_err() {
            return;
        }
    }
}
