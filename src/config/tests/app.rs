//! The app's own settings, below file and command line.

use serde_json::json;

use super::*;

fn app(world: &World, loaded: &Loaded, said: serde_json::Value) -> (Settings, Vec<String>) {
    let (loaded, refused) = with_app(loaded, said.as_object().unwrap(), &world.here);
    (loaded.settings, refused)
}

#[test]
fn the_app_comes_after_file_and_command_line() {
    let world = World::new();
    let file = format!("{PATH}tries = 4\n");
    let loaded = world.shop(&file, &[("timeout", "7")]).unwrap();
    let said =
        json!({"tries": 9, "timeout": 9, "backoff": [1, 5], "pool_size": "4", "queues": "high,low", "renew": null});
    let (settings, refused) = app(&world, &loaded, said);
    assert_eq!(refused, [""; 0]);
    assert_eq!((settings.tries, settings.timeout), (4, Some(std::time::Duration::from_secs(7))));
    assert_eq!((settings.backoff.as_str(), settings.pool_size), ("1,5", 4));
    assert_eq!(settings.queues, ["high", "low"]);
    // Root's programs do not read the app's settings: what its units were made from does not change with them.
    assert_eq!(settings.pool_max_size, 20);
    assert!(settings.renew);
}

#[test]
fn what_is_not_the_apps_is_refused_alone() {
    let world = World::new();
    let loaded = world.shop(PATH, &[]).unwrap();
    let said = json!({
        "isolated_memory_cap": "64G",
        "pool_max_size": 100,
        "php": "/tmp/php",
        "user": "root",
        "pool_size": 30,
        "worker_memory": 600,
        "inline_max_duration": "soon",
        "colour": "blue",
        "tries": 2,
    });
    let (settings, mut refused) = app(&world, &loaded, said);
    refused.sort();
    let etc = "set it in /etc/kqueue/shop.toml or on the command line";
    assert_eq!(
        refused,
        [
            "config/kqueue.php: colour: no such setting; `kqueue config example` lists them".to_owned(),
            "config/kqueue.php: inline_max_duration: expected a duration, at most a year (seconds, or a string \
             such as \"500ms\", \"2h 30min\"), got \"soon\"; e.g. inline_max_duration = \"1s\""
                .to_owned(),
            format!("config/kqueue.php: isolated_memory_cap: cannot be set by the app; {etc}"),
            format!("config/kqueue.php: php: cannot be set by the app; {etc}"),
            format!("config/kqueue.php: pool_max_size: cannot be set by the app; {etc}"),
            "config/kqueue.php: pool_size: 30 is above pool_max_size (20); lower pool_size or raise pool_max_size"
                .to_owned(),
            format!("config/kqueue.php: user: cannot be set by the app; {etc}"),
            "config/kqueue.php: worker_memory: 600 is above worker_memory_max (512); lower worker_memory or raise \
             worker_memory_max"
                .to_owned(),
        ]
    );
    let mut expected = loaded.settings;
    expected.tries = 2;
    assert_eq!(settings, expected);
}
