//! Checks the declarations for kqueue in the app's queued classes. Pure.

use std::collections::BTreeMap;

use super::finding::Finding;
use crate::survey::Declared;
use kqueue_config::Settings;
use kqueue_system::harmless;

/// Maximum classes named in one finding.
const NAMED: usize = 8;
/// Maximum bytes per class.
const LENGTH: usize = 160;

pub(super) fn judge(settings: &Settings, declared: &BTreeMap<String, Declared>, findings: &mut Vec<Finding>) {
    let each = |part: fn(&Declared) -> String| {
        let said = declared.iter().map(|(class, one)| (class, part(one))).filter(|(_, said)| !said.is_empty());
        listed(said.map(|(class, said)| harmless::words(&format!("{class}: {said}"), LENGTH)).collect())
    };
    if let Some(classes) = each(|one| one.unloadable.clone().unwrap_or_default()) {
        findings.push(Finding::warning(
            "class",
            format!("classes that cannot be loaded, so their jobs will fail: {classes}"),
            "fix or remove them; php -l FILE shows syntax errors",
        ));
    }
    let off = "set property_hints = false if the app uses such properties for something else: then only attributes count, such as #[\\Kqueue\\MaxMemory(512)]";
    if let Some(classes) = each(|one| values(&one.ignored)) {
        findings.push(Finding::note("ignored-hints", format!("declarations that kqueue ignores: {classes}"), off));
    }
    if let Some(classes) = each(|one| values(&one.hints)) {
        let fix = if settings.property_hints { off } else { "remove the attributes if they are not intended" };
        findings.push(Finding::note("hints", format!("declarations of classes for kqueue: {classes}"), fix));
    }
}

fn values(values: &BTreeMap<String, String>) -> String {
    values.iter().map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ")
}

/// A bounded list; `None` if it is empty.
fn listed(mut items: Vec<String>) -> Option<String> {
    let more = items.len().saturating_sub(NAMED);
    items.truncate(NAMED);
    if more > 0 {
        items.push(format!("and {more} more"));
    }
    (!items.is_empty()).then(|| items.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_bounded_and_harmless() {
        assert_eq!(listed(Vec::new()), None);
        let many: Vec<String> = (0..NAMED + 2).map(|n| n.to_string()).collect();
        assert!(listed(many).unwrap().ends_with("7; and 2 more"));
        let said = BTreeMap::from([("priority".to_owned(), "'\u{1b}[2Jx'".to_owned())]);
        assert_eq!(harmless::words(&values(&said), LENGTH), "priority ' [2Jx'");
    }
}
