//! The command line, as somebody types it.

use clap::CommandFactory;

use super::*;
use kqueue_config::{KEYS, SetBy};

fn run(args: &[&str]) -> Result<Request, String> {
    let args = ["kqueue", "run"].iter().chain(args);
    match Cli::try_parse_from(args).and_then(Cli::accepted).map_err(|error| error.to_string())? {
        Command::Run(run) => Ok(run.request()),
        _ => Err("not run".into()),
    }
}

#[test]
fn clap_finds_no_fault() {
    Cli::command().debug_assert();
}

#[test]
fn every_key_is_an_option() {
    for key in KEYS.iter().filter(|key| key.set_by != SetBy::File) {
        let option = format!("--{}={}", key.name.replace('_', "-"), key.default.text());
        let request = run(&[&option]).unwrap();
        assert_eq!(request.flags, [(key.name, key.default.text().to_owned())]);
    }
    assert!(run(&["--user=root"]).is_err());
}

#[test]
fn options_of_queue_work() {
    let cases: &[(&str, &str, &str)] = &[
        ("--queue=a,b", "queues", "a,b"),
        ("--memory=256", "worker_memory", "256"),
        ("--tries=3", "tries", "3"),
        ("--timeout=0", "timeout", "0"),
        ("--timeout=-1", "timeout", "-1"),
        ("--backoff=1,5", "backoff", "1,5"),
        ("--force", "force", "true"),
        ("--renew=false", "renew", "false"),
        ("--php-args=-d a=1", "php_args", "-d a=1"),
    ];
    for (option, key, value) in cases {
        assert_eq!(run(&[option]).unwrap().flags, [(*key, (*value).to_owned())], "{option}");
    }
    let php = run(&["shop", "--php-args", "-n"]).unwrap();
    assert_eq!((php.app.as_deref(), php.flags), (Some("shop"), vec![("php_args", "-n".to_owned())]));
    let forced = run(&["--force", "shop"]).unwrap();
    assert_eq!((forced.app.as_deref(), forced.flags), (Some("shop"), vec![("force", "true".to_owned())]));
}

#[test]
fn limits_of_a_run() {
    let once = run(&["--once"]).unwrap();
    assert_eq!((once.max_jobs.as_deref(), once.stop_when_empty), (Some("1"), true));
    let limited = run(&["--max-jobs", "7", "--max-time", "5min", "--stop-when-empty"]).unwrap();
    assert_eq!(limited.max_jobs.as_deref(), Some("7"));
    assert_eq!(limited.max_time.as_deref(), Some("5min"));
    assert!(limited.stop_when_empty);
    assert!(run(&["--once", "--max-jobs=3"]).is_err());
}

#[test]
fn refused_with_the_reason() {
    for option in ["--sleep=3", "--sleep", "--rest=1", "--daemon", "--name=x"] {
        let error = run(&[option]).unwrap_err();
        let name = option.split('=').next().unwrap();
        assert!(error.contains(&format!("{name}: not an option here")), "{error}");
        assert!(error.contains("Usage: kqueue run "), "{error}");
    }
    assert!(run(&["--sleep=3"]).unwrap_err().contains("does not poll"));
}
