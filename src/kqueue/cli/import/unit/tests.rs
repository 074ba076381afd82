use std::fs;

use proptest::prelude::*;

use super::*;

#[test]
fn files_as_systemd_reads_them() {
    let text =
        "# c\n[Service]\nExecStart=/usr/bin/php \\\n# c\n  artisan \\\n  queue:work\nExecStart=\n; c\nExecStart = b\n";
    let flat: Vec<String> =
        settings(text, "f").iter().map(|s| format!("{}.{}={}@{}", s.section, s.name, s.value, s.at)).collect();
    assert_eq!(
        flat,
        ["Service.ExecStart=/usr/bin/php artisan queue:work@f:3", "Service.ExecStart=@f:7", "Service.ExecStart=b@f:9"]
    );
    assert_eq!(template_of("q@a-b.service"), ("q@.service".into(), Some("a-b".into())));
    assert_eq!(template_of("q@.service"), ("q@.service".into(), None));
    assert_eq!(template_of("q.service"), ("q.service".into(), None));
}

#[test]
fn units_drop_ins_and_instances() {
    let dir = tempfile::Builder::new().prefix("kq").tempdir().unwrap();
    let put = |file: &str, text: &str| {
        let file = dir.path().join("etc/systemd/system").join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    };
    put(
        "q@.service",
        "[Service]\nUser=forge\nWorkingDirectory=/srv/shop\nExecStart=/usr/bin/php artisan queue:work --queue=%i --tries=${TRIES}\nNice=5\n",
    );
    put("q@.service.d/tries.conf", "[Service]\nEnvironment=TRIES=4 X=1\nTimeoutStopSec=90\n");
    for instance in ["high", "low"] {
        put(&format!("multi-user.target.wants/q@{instance}.service"), "");
    }
    let mut notes = Vec::new();
    let units = find(Path::new("q@"), Path::new("/"), dir.path(), &mut notes).unwrap();
    let sets = units[0].sets(&mut notes);
    let queues: Vec<String> = sets.iter().map(|set| set.queues.clone().unwrap().join(",")).collect();
    assert_eq!(queues, ["high", "low"]);
    assert_eq!(sets[0].keys, [("tries", "4".to_owned()), ("stop_timeout", "90".to_owned())]);
    assert_eq!((sets[0].user.as_deref(), sets[0].path.to_str()), (Some("forge"), Some("/srv/shop")));
    let one = find(Path::new("q@mail.service"), Path::new("/"), dir.path(), &mut notes).unwrap();
    assert_eq!(one[0].sets(&mut notes)[0].queues.as_deref(), Some(&["mail".to_owned()][..]));
    assert!(find(Path::new("none"), Path::new("/"), dir.path(), &mut notes).unwrap_err().line.contains("no such unit"));
    // Without instances its command is unknown.
    fs::remove_dir_all(dir.path().join("etc/systemd/system/multi-user.target.wants")).unwrap();
    let units = find(Path::new("q@.service"), Path::new("/"), dir.path(), &mut notes).unwrap();
    notes.clear();
    assert!(units[0].sets(&mut notes).is_empty() && notes[0].contains("needs the instance"), "{notes:?}");
}

proptest! {
    #[test]
    fn never_panics(text in prop_oneof![".*", r"(\[Service\]|\n|ExecStart=|User=|%|i|\\|php /a/artisan queue:work|Environment=|')*"]) {
        let input = Input { name: "f".into(), path: "f".into(), text, latin: None };
        let unit = of_files("q@.service", &[input], vec!["é-1".into()], &mut Vec::new());
        unit.sets(&mut Vec::new());
    }
}
