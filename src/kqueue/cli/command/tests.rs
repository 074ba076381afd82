use proptest::prelude::*;

use super::*;

fn read(line: &str) -> Reading {
    Reading::of(line, Dialect::Shell, &|name| (name == "KNOWN").then(|| "/srv/known".to_owned()))
}

fn parse(line: &str) -> Work {
    let reading = read(line);
    reading.works.first().cloned().unwrap_or_else(|| panic!("{line}: {reading:?}"))
}

#[test]
fn what_people_write() {
    let work = parse("php /srv/shop/artisan queue:work redis --queue=high,default --tries 3 --force -q");
    assert_eq!((work.kind, work.php.as_deref(), work.connection.as_deref()), (Kind::Work, Some("php"), Some("redis")));
    assert_eq!(work.queues().unwrap(), ["high", "default"]);
    assert_eq!((work.option("tries"), work.option("force")), (Some("3"), None));
    assert_eq!(work.options.len(), 4);
    assert_eq!(work.app(None).unwrap(), Path::new("/srv/shop"));
    let work = parse("nice -n 10 /usr/bin/php8.3 -d memory_limit=1G ./artisan queue:listen");
    assert_eq!((work.kind, work.dropped[0].0.as_str()), (Kind::Listen, "nice -n 10"));
    assert_eq!(work.php_args, ["-d", "memory_limit=1G"]);
    assert_eq!(work.app(None), None);
    assert_eq!(work.app(Some(Path::new("/srv/shop"))).unwrap(), Path::new("/srv/shop"));
    assert_eq!(parse("/srv/shop/artisan horizon").kind, Kind::Horizon);
    assert_eq!(parse("php /srv/app/../shop/./artisan queue:work").app(None).unwrap(), Path::new("/srv/shop"));
    assert_eq!(parse("php artisan schedule:run").kind, Kind::Schedule);
}

/// Line; app's directory, user, group; dropped parts.
#[test]
fn wrappers() {
    for (line, path, user, dropped) in [
        ("/bin/bash -c 'cd /srv/shop && exec php artisan queue:work --sleep=3'", "/srv/shop", "", &[][..]),
        ("sh -ec 'cd /srv; cd shop; php artisan queue:work'", "/srv/shop", "", &[]),
        ("sudo -u forge php /srv/shop/artisan queue:work", "/srv/shop", "forge:", &[]),
        ("sudo -nEu forge -- php /srv/shop/artisan queue:work", "/srv/shop", "forge:", &[]),
        ("sudo --user=forge -g www A=b php /srv/shop/artisan queue:work", "/srv/shop", "forge:www", &[]),
        ("sudo php /srv/shop/artisan queue:work", "/srv/shop", "root:", &[]),
        ("doas -u forge php /srv/shop/artisan queue:work", "/srv/shop", "forge:", &[]),
        ("gosu forge:www php /srv/shop/artisan queue:work", "/srv/shop", "forge:www", &[]),
        ("su-exec forge php /srv/shop/artisan queue:work", "/srv/shop", "forge:", &[]),
        ("s6-setuidgid forge php /srv/shop/artisan queue:work", "/srv/shop", "forge:", &[]),
        (
            "setpriv --reuid=forge --regid=www --init-groups php /srv/shop/artisan queue:work",
            "/srv/shop",
            "forge:www",
            &[],
        ),
        ("chpst -u forge:www php /srv/shop/artisan queue:work", "/srv/shop", "forge:www", &[]),
        ("runuser -u forge -- php /srv/shop/artisan queue:work", "/srv/shop", "forge:", &[]),
        ("runuser -l forge -c 'php /srv/shop/artisan queue:work'", "/srv/shop", "forge:", &[]),
        ("su - forge -s /bin/bash -c 'cd /srv/shop && php artisan queue:work'", "/srv/shop", "forge:", &[]),
        ("su -c 'php /srv/shop/artisan queue:work' forge", "/srv/shop", "forge:", &[]),
        ("timeout -k 5 55s php /srv/shop/artisan queue:work", "/srv/shop", "", &["timeout -k 5 55s"]),
        ("ionice -c2 -n7 nice -19 php /srv/shop/artisan queue:work", "/srv/shop", "", &["ionice -c2 -n7", "nice -19"]),
        ("flock -n /tmp/l php /srv/shop/artisan queue:work", "/srv/shop", "", &["flock -n /tmp/l"]),
        ("flock -n /tmp/l -c 'php /srv/shop/artisan queue:work'", "/srv/shop", "", &["flock -n /tmp/l"]),
        ("env -u X -C /srv/shop A=b php artisan queue:work", "/srv/shop", "", &[]),
        ("exec -a worker nohup setsid tini -- php /srv/shop/artisan queue:work", "/srv/shop", "", &[]),
        ("doppler run -p shop -- php /srv/shop/artisan queue:work", "/srv/shop", "", &["doppler run -p shop"]),
        ("/opt/entry.sh php /srv/shop/artisan queue:work", "/srv/shop", "", &["/opt/entry.sh"]),
        ("while true; do php /srv/shop/artisan queue:work --once; sleep 1; done", "/srv/shop", "", &[]),
        ("(cd /tmp; ls); cd /srv/shop; php artisan queue:work", "/srv/shop", "", &["`ls` before it"]),
        (
            "php /srv/shop/artisan migrate && php /srv/shop/artisan queue:work | tee x",
            "/srv/shop",
            "",
            &["| tee x", "`php /srv/shop/artisan migrate` before it"],
        ),
        ("php /srv/shop/artisan queue:work >> /var/log/x 2>&1", "/srv/shop", "", &[">> /var/log/x 2>&1"]),
        ("cd ${APP:-/srv/shop} && $(which php) artisan queue:work", "/srv/shop", "", &[]),
        ("php $KNOWN/artisan queue:work", "/srv/known", "", &[]),
        ("frankenphp php-cli /srv/shop/artisan queue:work", "/srv/shop", "", &["frankenphp php-cli"]),
        ("umask 002; php /srv/shop/artisan queue:work", "/srv/shop", "", &["umask 002"]),
    ] {
        let work = parse(line);
        let who = work.user.clone().map(|user| format!("{user}:{}", work.group.clone().unwrap_or_default()));
        let left: Vec<&str> = work.dropped.iter().map(|(what, _)| what.as_str()).collect();
        assert_eq!(work.app(None).unwrap(), Path::new(path), "{line}");
        assert_eq!((who.unwrap_or_default(), left), (user.to_owned(), dropped.to_vec()), "{line}");
        assert_eq!(work.connection, None, "{line}");
    }
    assert_eq!(parse("env A=1 B='x y' php /a/artisan queue:work").env, ["A", "B"]);
    assert_eq!(parse("export A=1; B=2 php /a/artisan queue:work").env, ["A", "B"]);
    assert_eq!(read("php /a/artisan queue:work & php /b/artisan queue:work --queue=x").works.len(), 2);
    // Nothing is known of another user's home directory.
    assert_eq!(parse("su - forge -c 'php artisan queue:work'").app(Some(Path::new("/x"))), None);
}

#[test]
fn what_runs_elsewhere_is_refused() {
    for (line, by) in [
        ("docker exec -u www app php artisan queue:work", "docker exec runs it elsewhere"),
        ("sudo docker compose -f x.yml exec -T app php artisan queue:work", "docker compose exec"),
        ("docker-compose run app php artisan horizon", "docker-compose runs"),
        ("./vendor/bin/sail artisan queue:work", "sail runs"),
        ("bash -c 'cd /srv/shop && ./vendor/bin/sail artisan queue:work'", "sail runs"),
        ("php vendor/bin/sail artisan queue:work", "sail runs"),
        ("kubectl exec pod -- php artisan queue:work", "inside that pod"),
        ("ssh host 'php artisan queue:work'", "on that machine"),
        ("chroot /jail php /srv/artisan queue:work", "inside that root file system"),
        ("php $APP/artisan queue:work", "the variable APP is not set"),
        ("php /a/artisan queue:work --queue=$QUEUE", "the variable QUEUE is not set"),
        ("php /a/artisan queue:work 'x", "not closed"),
    ] {
        let reading = read(line);
        assert!(reading.works.is_empty() && reading.refused[0].contains(by), "{line}: {reading:?}");
    }
    // Variables in irrelevant parts may be unknown.
    assert!(read("php /a/artisan queue:work --sleep=$S --name=$HOSTNAME >> $LOG").refused.is_empty());
}

#[test]
fn what_works_no_queue() {
    for line in [
        "php artisan migrate",
        "php /srv/shop/artisan",
        "node queue:work",
        "",
        "bash -c 'php x'",
        "sh",
        "echo php artisan queue:work",
        "pkill -f 'php artisan queue:work'",
        "docker exec app ls",
        "php -r 'artisan queue:work'",
    ] {
        assert_eq!(read(line), Reading::default(), "{line}");
    }
    assert_eq!(read("bash -x /opt/worker.sh").script.as_deref(), Some("/opt/worker.sh"));
    assert_eq!(Work::parse(&["docker", "exec", "a", "php", "/a/artisan", "queue:work"].map(str::to_owned)), None);
}

proptest! {
    #[test]
    fn never_panics(line in prop_oneof![
        ".*",
        r#"((sudo|su|env|sh|-c|-u|flock|nice|php|/a/artisan|queue:work|exec|cd|--queue=|runuser|timeout|systemd-run|doppler|--|gosu|[ '"&;|>$-]) ?){0,24}"#,
    ]) {
        for dialect in [Dialect::Shell, Dialect::Words] {
            let _ = Reading::of(&line, dialect, &|_| None);
        }
    }
}
