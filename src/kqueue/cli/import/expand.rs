//! `%(…)s` in supervisord's files.

use std::path::Path;

/// Values of `%(…)s` in a file.
#[derive(Debug)]
pub(super) struct Here<'a> {
    pub file: &'a Path,
    pub name: &'a str,
    pub group: &'a str,
    pub numprocs: &'a str,
    pub process: u32,
}

/// Expands `%(…)s`.
///
/// # Errors
/// The name of an unknown one.
pub(super) fn expand(text: &str, here: &Here<'_>, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        let inner = rest.strip_prefix('(').and_then(|inner| inner.split_once(')'));
        let Some((variable, after)) = inner else {
            out.push('%');
            continue;
        };
        let value = match variable {
            "program_name" => Some(here.name.to_owned()),
            "group_name" => Some(here.group.to_owned()),
            "here" => here.file.parent().map(|directory| directory.display().to_string()),
            "numprocs" => Some(here.numprocs.to_owned()),
            "process_num" => Some(here.process.to_string()),
            "host_node_name" => {
                std::fs::read_to_string("/proc/sys/kernel/hostname").ok().map(|name| name.trim().to_owned())
            }
            _ => variable.strip_prefix("ENV_").and_then(lookup),
        };
        let value = value.ok_or_else(|| variable.to_owned())?;
        // The conversion that follows: `s`, `d`, `02d`.
        let digits = after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (width, after) = after.split_at(digits);
        let Some(conversion) = after.chars().next().filter(char::is_ascii_alphabetic) else {
            out += &value;
            rest = after;
            continue;
        };
        let wide = width.parse::<usize>().unwrap_or(0).min(64);
        match conversion {
            'd' if width.starts_with('0') => out += &format!("{value:0>wide$}"),
            _ => out += &format!("{value:>wide$}"),
        }
        rest = &after[1..];
    }
    Ok(out + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_for_something() {
        let here = Here { file: Path::new("/etc/s/w.conf"), name: "w", group: "g", numprocs: "8", process: 3 };
        let text = |text: &str| expand(text, &here, &|name| (name == "A").then(|| "a".to_owned()));
        assert_eq!(text("%(program_name)s_%(process_num)02d %(group_name)s").unwrap(), "w_03 g");
        assert_eq!(text("%(here)s/x 100%% %(numprocs)d % %(ENV_A)s").unwrap(), "/etc/s/x 100% 8 % a");
        assert_eq!(text("%(no_such)s").unwrap_err(), "no_such");
    }
}
