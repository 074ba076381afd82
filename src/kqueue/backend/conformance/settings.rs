//! Settings of a connection as PHP prints them, and the backends made from them.

use crate::backend::{BackendError, ConnectionSettings, open};
use kqueue_config::Pop;

fn parse(json: &str) -> ConnectionSettings {
    serde_json::from_str(json).unwrap()
}

#[test]
fn takes_what_php_prints() {
    let ConnectionSettings::Redis(redis) = parse(
        r#"{"driver":"redis","host":"127.0.0.1","port":"6380","username":null,"password":"geheim",
            "database":"1","prefix":"p_","retry_after":90,"migration_batch_size":-1,"block_for":null}"#,
    ) else {
        panic!("no redis");
    };
    assert_eq!((redis.port, redis.database, redis.retry_after), (6380, 1, Some(90)));
    assert!(!format!("{redis:?}").contains("geheim"));

    let ConnectionSettings::Redis(redis) =
        parse(r#"{"driver":"redis","host":"unix:///run/redis.sock","port":-1,"retry_after":null}"#)
    else {
        panic!("no redis");
    };
    assert_eq!((redis.port, redis.migration_batch_size, redis.retry_after), (0, -1, None));
    assert!(open(ConnectionSettings::Redis(redis), Pop::Safe).is_ok());

    let sqlite = r#"{"driver":"database","engine":"sqlite","path":"/srv/db.sqlite","table":"jobs","retry_after":"90"}"#;
    assert!(open(parse(sqlite), Pop::Safe).is_ok());
    assert!(serde_json::from_str::<ConnectionSettings>("{}").is_err());
}

#[test]
fn says_what_is_wrong_in_one_line() {
    let cases = [
        (r#"{"driver":"sync"}"#, "`sync`"),
        (r#"{"driver":"null"}"#, "`null`"),
        (r#"{"driver":"deferred"}"#, "`deferred`"),
        (r#"{"driver":"background"}"#, "`background`"),
        (r#"{"driver":"sqs"}"#, "`region`"),
        (r#"{"driver":"database"}"#, "`engine`"),
        (r#"{"driver":"database","engine":"mysql","addresses":[],"table":"`jobs`"}"#, "`retry_after`"),
        (r#"{"driver":"database","engine":"sqlite","path":":memory:","retry_after":90}"#, "in memory"),
        (r#"{"driver":"database","engine":"sqlite","path":"","retry_after":90}"#, "in memory"),
        (r#"{"driver":"database","engine":"sqlite","path":"/x"}"#, "`retry_after`"),
        (r#"{"driver":"redis","host":"tlsv1.0://a"}"#, "`tls://`"),
        (r#"{"driver":"redis","host":"tls://a","tls":{"cafile":"/no/such/ca"}}"#, "/no/such/ca"),
        (r#"{"driver":"redis","host":"tls://a","tls":{"passphrase":"geheim"}}"#, "`passphrase`"),
        (r#"{"driver":"redis","sentinel":{"service":"m","nodes":[]}}"#, "no sentinel"),
        (r#"{"driver":"redis","host":""}"#, "host"),
    ];
    for (json, part) in cases {
        match open(parse(json), Pop::Safe).err() {
            Some(BackendError::Settings(why)) => {
                assert!(why.contains(part) && !why.contains('\n') && !why.contains("  "), "{why}");
            }
            other => panic!("{json}: {other:?}"),
        }
    }
}

#[test]
fn workers_pop_where_nothing_else_can() {
    for json in [
        r#"{"driver":"failover"}"#,
        r#"{"driver":"beanstalkd","class":"Illuminate\\Queue\\BeanstalkdQueue","retry_after":90}"#,
        r#"{"driver":"rabbitmq"}"#,
        r#"{"driver":"database","engine":"sqlsrv"}"#,
        r#"{"driver":"redis","host":"a","own":{"class":"App\\Queue","method":"pop"}}"#,
    ] {
        assert!(open(parse(json), Pop::Safe).unwrap().is_native(), "{json}");
    }
}

#[test]
fn php_has_a_class_for_each_driver() {
    let php = include_str!("../../../php/worker/Driver.php");
    let list = php.split_once("ALL = [").unwrap().1.split_once("];").unwrap().0;
    let named: Vec<_> = list.split('\'').skip(1).step_by(2).collect();
    let ours = [
        r#"{"driver":"redis","host":"localhost"}"#,
        r#"{"driver":"database","engine":"sqlite","path":"/srv/db.sqlite","retry_after":90}"#,
        r#"{"driver":"sqs","region":"eu-west-1"}"#,
    ];
    let ours = ours.map(|settings| open(parse(settings), Pop::Safe).unwrap().driver());
    assert_eq!(named, ours);
}
