//! The inputs: files, directories, standard input. All are bounded.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::{User, geteuid};

use crate::cli::Failed;

/// Maximum bytes of an input.
const LARGEST: u64 = 1 << 20;
/// Maximum number of inputs.
pub(super) const MOST_FILES: usize = 1000;

/// An input text.
#[derive(Clone, Debug)]
pub(super) struct Input {
    /// Its name in notes.
    pub name: String,
    /// Its path; `-` in the working directory for standard input.
    pub path: PathBuf,
    pub text: String,
    /// The first line that is not UTF-8, if the text was decoded as Latin-1.
    pub latin: Option<usize>,
}

/// Entries of a directory whose names have this ending, sorted.
pub(in crate::cli) fn listed(directory: &Path, end: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(end)))
        .collect();
    files.sort();
    files
}

/// Reads the inputs named on the command line: files, `-`, and directories, of which the files with one of these
/// endings.
pub(super) fn read(names: &[PathBuf], endings: &[&str], cwd: &Path) -> Result<Vec<Input>, Failed> {
    let mut inputs = Vec::new();
    for name in names {
        if name.as_os_str() == "-" {
            inputs.push(input("stdin".into(), cwd.join("-"), io::stdin().lock())?);
            continue;
        }
        let path = cwd.join(name);
        if !path.is_dir() {
            inputs.push(file(&path, name)?);
            continue;
        }
        let entries = fs::read_dir(&path).map_err(|error| Failed::at(&name.display().to_string(), error))?;
        let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        found.retain(|path| {
            let ending = path.extension().unwrap_or_default().to_string_lossy().into_owned();
            path.is_file() && (endings.is_empty() || endings.contains(&ending.as_str()))
        });
        found.sort();
        if found.is_empty() {
            let what: Vec<String> = endings.iter().map(|ending| format!("*.{ending}")).collect();
            let what = if what.is_empty() { "file".to_owned() } else { what.join(", ") };
            return Err(Failed::config(format!("{}: has no {what} in it; give a file", name.display())));
        }
        for path in found {
            inputs.push(file(&path, &name.join(path.file_name().unwrap_or_default()))?);
        }
        if inputs.len() > MOST_FILES {
            return Err(Failed::config(format!("{}: has more than {MOST_FILES} files; give fewer", name.display())));
        }
    }
    Ok(inputs)
}

/// The current user's crontab.
pub(super) fn crontab() -> Result<Input, Failed> {
    let output = Command::new("crontab").arg("-l").stdin(Stdio::null()).output();
    let output = output.map_err(|error| {
        Failed::config(format!("crontab -l: {error}; give the crontab's file, or - for standard input"))
    })?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Failed::config(format!("crontab -l: {why}; give the crontab's file, such as /etc/cron.d/shop")));
    }
    let user = User::from_uid(geteuid()).ok().flatten().map_or_else(|| geteuid().to_string(), |user| user.name);
    input("crontab".into(), Path::new("/var/spool/cron/crontabs").join(user), &output.stdout[..])
}

/// Reads one file; `name` is its name in notes.
pub(super) fn file(path: &Path, name: &Path) -> Result<Input, Failed> {
    let shown = name.display().to_string();
    let file = File::open(path).map_err(|error| Failed::at(&shown, error))?;
    input(shown, path.to_owned(), file)
}

fn input(name: String, path: PathBuf, source: impl Read) -> Result<Input, Failed> {
    let mut bytes = Vec::new();
    source.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|error| Failed::at(&name, error))?;
    if bytes.len() as u64 > LARGEST {
        return Err(Failed::config(format!("{name}: is larger than {} KB; not a config file", LARGEST >> 10)));
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(Failed::config(format!("{name}: is UTF-16; convert it: iconv -f UTF-16 -t UTF-8")));
    }
    let (text, latin) = decoded(&bytes);
    Ok(Input { name, path, text, latin })
}

/// Decodes UTF-8, with or without a byte order mark, else Latin-1.
fn decoded(bytes: &[u8]) -> (String, Option<usize>) {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match std::str::from_utf8(bytes) {
        Ok(text) => (text.to_owned(), None),
        Err(error) => {
            let line = bytes.iter().take(error.valid_up_to()).filter(|byte| **byte == b'\n').count() + 1;
            (bytes.iter().map(|byte| char::from(*byte)).collect(), Some(line))
        }
    }
}

impl Input {
    /// A note on its encoding, if it is not UTF-8.
    pub fn note(&self) -> Option<String> {
        let line = self.latin?;
        Some(format!("{}:{line}: is not UTF-8; the file was read as Latin-1", self.name))
    }

    /// Whether a text from it may be wrong: paths and names are bytes, and decoding has changed these.
    pub fn is_doubtful(&self, text: &str) -> bool {
        self.latin.is_some() && !text.is_ascii()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings() {
        assert_eq!(decoded(b"\xef\xbb\xbfa\n"), ("a\n".to_owned(), None));
        assert_eq!(decoded("é".as_bytes()), ("é".to_owned(), None));
        assert_eq!(decoded(b"a\n; \xe9\n"), ("a\n; \u{e9}\n".to_owned(), Some(2)));
        let utf16 = input("f".into(), "f".into(), &b"\xff\xfea\0"[..]).unwrap_err();
        assert!(utf16.line.contains("UTF-16"));
        let large = vec![b'a'; LARGEST as usize + 1];
        assert!(input("f".into(), "f".into(), &large[..]).unwrap_err().line.contains("larger"));
    }
}
