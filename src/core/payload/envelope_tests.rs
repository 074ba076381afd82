//! Tests of the envelope on made-up payloads; real ones are read in `tests/payload.rs`.

use std::time::Duration;

use super::*;

fn parse(text: &str) -> Envelope {
    Envelope::parse(text.as_bytes()).unwrap()
}

fn broken(bytes: &[u8]) -> Broken {
    Envelope::parse(bytes).unwrap_err()
}

#[test]
fn fuzz_envelopes() {
    let seeds = kqueue_fuzz::files("tests/fixtures/payloads");
    kqueue_fuzz::fuzz("envelopes", &seeds.iter().map(Vec::as_slice).collect::<Vec<_>>(), |input| {
        let _ = Envelope::parse(input);
        let _ = Hints::from_json(&String::from_utf8_lossy(input));
    });
}

#[test]
fn fuzz_serialized_commands() {
    let seeds = [
        br#"O:9:"App\Jobs\A":5:{s:8:"isolated";b:1;s:9:"maxMemory";i:512;s:17:"estimatedDuration";d:1.5;s:11:"*priority";i:3;s:1:"x";a:2:{i:0;N;i:1;O:1:"B":0:{}}}"#.as_slice(),
        br#"O:1:"T":3:{s:1:"e";E:9:"Suit:Ace";s:1:"c";C:1:"Q":3:{abc}s:1:"r";R:1;}"#,
        br#"a:1:{s:7:"command";O:1:"T":1:{s:8:"priority";s:1:"9";}}"#,
    ];
    kqueue_fuzz::fuzz("serialized", &seeds, |input| {
        let _ = Hints::from_serialized(input);
    });
}

#[test]
fn a_message_that_php_cannot_run_is_broken() {
    for text in ["", " ", "{", "{\"job\":\"x\"", "nonsense", "{\"job\":\"x\"} x", "{\"job\":\"x\",}"] {
        assert!(matches!(broken(text.as_bytes()), Broken::NotJson(_)), "{text}");
    }
    assert!(matches!(broken(b"{\"job\":\"x\",\"data\":\"\xff\"}"), Broken::NotJson(_)));
    for text in ["[]", "null", "7", "\"x\"", "true", "[{\"job\":\"x\"}]"] {
        assert_eq!(broken(text.as_bytes()), Broken::NotObject, "{text}");
    }
    for text in
        ["{}", "{\"job\":null}", "{\"job\":7}", "{\"job\":\"\"}", "{\"job\":[\"x\"]}", "{\"data\":{\"job\":\"x\"}}"]
    {
        assert_eq!(broken(text.as_bytes()), Broken::NoJob, "{text}");
    }
}

#[test]
fn the_reason_does_not_quote_the_payload() {
    let reason = broken(b"{\"job\":\"secret\" \"x\"}").to_string();
    assert!(reason.starts_with("not JSON: "), "{reason}");
    assert!(!reason.contains("secret"), "{reason}");
}

#[test]
fn depth_is_php_s() {
    let nest = |levels: usize| {
        // The payload's own object is the first level.
        let inner = levels - 1;
        format!("{{\"job\":\"x\",\"data\":{}{}}}", "[".repeat(inner), "]".repeat(inner))
    };
    assert!(Envelope::parse(nest(512).as_bytes()).is_ok());
    assert_eq!(broken(nest(513).as_bytes()), Broken::TooDeep);
    assert_eq!(broken(nest(2_000_000).as_bytes()), Broken::TooDeep);
    // Brackets in strings (also after escaped quotes) and siblings do not add to the depth.
    let text = format!("{{\"job\":\"x\",\"data\":[\"{}\\\"[\",{}1]}}", "[".repeat(2000), "[],".repeat(2000));
    assert!(Envelope::parse(text.as_bytes()).is_ok());
}

#[test]
fn every_key_is_read() {
    let envelope = parse(
        r#"{"uuid":"u","displayName":"D","job":"Illuminate\\Queue\\CallQueuedHandler@call","timeout":33,
        "maxTries":3,"retryUntil":1795336411,"attempts":2,"createdAt":1795336109,"delay":60,"pushedAt":"1795336109.5",
        "data":{"commandName":"App\\Jobs\\T","command":"O:10:\"App\\Jobs\\T\":1:{s:8:\"priority\";i:4;}"},
        "kqueue":{"isolated":true,"estimatedDuration":2},"id":"i","tags":["a"],"silenced":false}"#,
    );
    assert_eq!(
        envelope,
        Envelope {
            uuid: Some("u".into()),
            display_name: Some("D".into()),
            job: "Illuminate\\Queue\\CallQueuedHandler@call".into(),
            command_name: Some("App\\Jobs\\T".into()),
            timeout: Some(33),
            max_tries: Some(3),
            retry_until: Some(1_795_336_411),
            attempts: Some(2),
            created_at: Some(1_795_336_109),
            delay: Some(60),
            pushed_at: Some(1_795_336_109_500),
            tags: vec!["a".into()],
            declared: Hints {
                isolated: Some(true),
                estimated_duration: Some(Duration::from_secs(2)),
                ..Hints::default()
            },
            properties: Hints { priority: Some(4), ..Hints::default() },
            own_delay: OwnDelay::None,
            carried: None,
        }
    );
}

#[test]
fn when_a_job_could_have_begun() {
    let horizon = |command: &str| {
        let command = serde_json::to_string(command).unwrap();
        format!(r#"{{"job":"J","pushedAt":"100.25","data":{{"command":{command}}}}}"#)
    };
    let own = |value: &str| horizon(&format!("O:1:\"T\":1:{{s:5:\"delay\";{value}}}"));
    let date = own(r#"O:13:"Carbon\Carbon":1:{s:4:"date";s:1:"x";}"#);
    for (text, dispatched, due) in [
        (r#"{"job":"J"}"#, None, None),
        (r#"{"job":"J","createdAt":100}"#, Some(100_000), Some(100_000)),
        (r#"{"job":"J","createdAt":100,"delay":7}"#, Some(100_000), Some(107_000)),
        (r#"{"job":"J","createdAt":100,"delay":7,"pushedAt":"100.25"}"#, Some(100_250), Some(107_250)),
        (&own("N;"), Some(100_250), Some(100_250)),
        (&own("i:7;"), Some(100_250), Some(107_250)),
        (&date, Some(100_250), None),
        (&horizon("eyJpdiI6ImRlbGF5In0="), Some(100_250), Some(100_250)),
    ] {
        let envelope = parse(text);
        assert_eq!((envelope.dispatched_at(), envelope.due_at()), (dispatched, due), "{text}");
    }
}

#[test]
fn tags_are_few_and_short() {
    let tags = |list: &str| parse(&format!(r#"{{"job":"J","tags":{list}}}"#)).tags;
    assert_eq!(tags(r#"["App\\User:1",7,null,"","b"]"#), ["App\\User:1", "b"]);
    assert!(tags(r#"{"a":"b"}"#).is_empty() && tags("\"a\"").is_empty());
    let many = format!("[{}]", vec![format!("\"{}\"", "x".repeat(500)); 100].join(","));
    assert_eq!(tags(&many), vec!["x".repeat(MAX_TAG); MAX_TAGS]);
    assert!(tags(&format!("[{}]", vec!["\"x\""; 50_000].join(","))).is_empty());
}

#[test]
fn a_wrong_type_is_as_good_as_absent() {
    for value in ["null", "[]", "{}", "true", "\"x\"", "-1", "1e999", "[[[]]]"] {
        let text = format!(
            "{{\"job\":\"J\",\"maxTries\":{value},\"retryUntil\":{value},\"attempts\":{value},\
            \"createdAt\":{value},\"delay\":{value},\"data\":{value},\"kqueue\":{value}}}"
        );
        let expected = Envelope { job: "J".into(), ..Envelope::default() };
        assert_eq!(parse(&text), expected, "{text}");
    }
    for value in ["null", "[]", "7", "\"\"", "\"\\ud800\""] {
        let text = format!(
            "{{\"job\":\"J\",\"uuid\":{value},\"id\":\"i\",\"displayName\":{value},\"data\":{{\"commandName\":{value},\"command\":{value}}}}}"
        );
        let expected = Envelope { job: "J".into(), uuid: Some("i".into()), ..Envelope::default() };
        assert_eq!(parse(&text), expected, "{text}");
    }
}

#[test]
fn of_a_key_given_twice_the_last_wins_and_escaped_keys_are_keys() {
    let envelope = parse(r#"{"job":"A","timeout":1,"\u006aob":"B","timeout":2}"#);
    assert_eq!((envelope.job.as_str(), envelope.timeout), ("B", Some(2)));
}

#[test]
fn the_kqueue_key_beats_the_command() {
    let envelope = parse(
        r#"{"job":"J","kqueue":{"isolated":false},"data":{"command":"O:1:\"T\":2:{s:8:\"isolated\";b:1;s:9:\"maxMemory\";i:9;}"}}"#,
    );
    assert_eq!(envelope.hints(true).isolated, Some(false));
    assert_eq!(envelope.hints(true).max_memory_mb, Some(9));
}

#[test]
fn a_class_is_what_runs_not_what_wraps_it() {
    let object = |command: Option<&str>, display: Option<&str>| Envelope {
        job: OBJECT_JOB.into(),
        command_name: command.map(Into::into),
        display_name: display.map(Into::into),
        ..Envelope::default()
    };
    for (command, display, class) in [
        (Some("App\\Jobs\\T"), Some("Import 4711"), "App\\Jobs\\T"),
        (Some("App\\Jobs\\T"), None, "App\\Jobs\\T"),
        (Some("Illuminate\\Events\\CallQueuedListener"), Some("App\\L"), "App\\L"),
        (Some("Illuminate\\Mail\\SendQueuedMailable"), Some("App\\Mail\\M"), "App\\Mail\\M"),
        (Some("Illuminate\\Notifications\\SendQueuedNotifications"), Some("App\\N"), "App\\N"),
        (Some("Illuminate\\Queue\\CallQueuedClosure"), Some("Closure (a.php:8)"), "Closure (a.php:8)"),
        (Some("Illuminate\\Foundation\\Console\\QueuedCommand"), Some("report:send"), "report:send"),
        (Some("Illuminate\\Bus\\ChainedBatch"), None, "Illuminate\\Bus\\ChainedBatch"),
        (None, Some("D"), "D"),
        (None, None, OBJECT_JOB),
    ] {
        assert_eq!(object(command, display).classes(), (class, None));
    }
    let string = Envelope {
        job: "App\\Handlers\\Old@fire".into(),
        display_name: Some("App\\Handlers\\Old".into()),
        command_name: Some("App\\Other".into()),
        ..Envelope::default()
    };
    assert_eq!(string.classes(), ("App\\Handlers\\Old@fire", None));
}

#[test]
fn a_package_s_wrapper_is_asked_what_it_carries() {
    let wrapper = "Spatie\\QueueableAction\\ActionJob";
    let parsed = |class: &str, display: &str, command: &str| {
        let payload = serde_json::json!({
            "job": OBJECT_JOB, "displayName": display, "data": {"commandName": class, "command": command},
        });
        let envelope = parse(&payload.to_string());
        let (class, other) = envelope.classes();
        (class.to_owned(), other.map(str::to_owned))
    };
    let carries = format!(
        "O:{}:\"{wrapper}\":2:{{s:1:\"x\";i:1;s:14:\"\0*\0actionClass\";s:13:\"App\\Actions\\A\";}}",
        wrapper.len()
    );
    let both = |class: &str, other: &str| (class.to_owned(), Some(other.to_owned()));
    // By `displayName`.
    assert_eq!(parsed(wrapper, "App\\Actions\\B", &carries), both("App\\Actions\\B", wrapper));
    assert_eq!(parsed("App\\Jobs\\T", "App\\Actions\\B", ""), both("App\\Actions\\B", "App\\Jobs\\T"));
    // By `actionClass`, where `displayName` is not another class.
    assert_eq!(parsed(wrapper, "Send the mail", &carries), both("App\\Actions\\A", wrapper));
    assert_eq!(parsed(wrapper, wrapper, &carries), both("App\\Actions\\A", wrapper));
    assert_eq!(parsed(wrapper, "Send the mail", "O:1:\"T\":0:{}"), (wrapper.to_owned(), None));
    // A `displayName` with spaces or without a namespace does not count as a class.
    assert_eq!(parsed("App\\Jobs\\T", "Order7", ""), ("App\\Jobs\\T".to_owned(), None));
    assert_eq!(parsed("App\\Jobs\\T", "App\\Jobs\\T #7", &carries), ("App\\Jobs\\T".to_owned(), None));
}

#[test]
fn names_are_bounded() {
    let long = "é".repeat(400);
    let text = format!("{{\"job\":\"{long}\",\"uuid\":\"{long}\",\"id\":\"i\",\"displayName\":\"a{long}\"}}");
    let envelope = parse(&text);
    assert_eq!(envelope.classes().0.len(), 512);
    assert_eq!(envelope.display_name.unwrap().len(), 511);
    assert_eq!(envelope.uuid.as_deref(), Some("i"));
}
