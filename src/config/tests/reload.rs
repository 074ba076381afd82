//! New settings for a running runtime.

use super::*;

#[test]
fn what_is_read_at_the_start_stays() {
    let world = World::new();
    let old = world.shop(PATH, &[]).unwrap().settings;
    let (same, held) = old.reloaded(&world.shop(PATH, &[]).unwrap().settings);
    assert_eq!((same, held.len()), (old.clone(), 0));
    let file = format!("{PATH}user = \"alice\"\nphp_args = \"-n\"\n");
    let other = [("tries", "4"), ("pop", "strict"), ("pool_size", "3"), ("connection", "other"), ("queues", "a,b")];
    let new = world.shop(&file, &other).unwrap().settings;
    let (taken, held) = old.reloaded(&new);
    let names: Vec<&str> = held.iter().map(|key| key.name).collect();
    assert_eq!(names, ["user", "php_args", "connection", "pop"]);
    // Keys that units of pooled workers read at their start apply to them before the runtime restarts.
    let anew: Vec<&str> = held.iter().filter(|key| key.is_read_by(Reader::Worker)).map(|key| key.name).collect();
    assert_eq!(anew, ["php_args"]);
    assert_eq!((&taken.connection, taken.pop, &taken.user), (&old.connection, old.pop, &None));
    assert_eq!((taken.tries, taken.pool_size, taken.queues.len()), (4, 3, 2));
    let changed: Vec<&str> = KEYS.iter().filter(|key| key.differs(&old, &taken)).map(|key| key.name).collect();
    assert_eq!(changed, ["queues", "pool_size", "pool_max_size", "tries"]);
}

/// A key is read on a reload or at the start, not both.
#[test]
fn each_key_is_read_by_somebody() {
    for key in KEYS {
        assert!(!(key.is_read_by(Reader::Live) && key.is_read_by(Reader::Start)), "{}", key.name);
        assert!(!key.readers.is_empty(), "{}", key.name);
        // A key that is read only from the file must not be accepted on the command line.
        let file_only = key.readers == [Reader::Root];
        assert!(!file_only || key.set_by == SetBy::File, "{}", key.name);
    }
}
