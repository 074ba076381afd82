//! Names of apps: `[a-z0-9][a-z0-9_]{0,31}`, the instance name of an app's units. Pure.

use std::path::Path;

use super::error::Error;

const LONGEST: usize = 32;

fn is_valid(name: &str) -> bool {
    let ok = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    (1..=LONGEST).contains(&name.len()) && name.bytes().all(ok) && !name.starts_with('_')
}

/// The closest valid name: lowercased, other characters as `_`. `None` if nothing is left.
fn derive(text: &str) -> Option<String> {
    let name: String = text
        .chars()
        .map(|c| c.to_ascii_lowercase())
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '_' })
        .skip_while(|c| *c == '_')
        .take(LONGEST)
        .collect();
    is_valid(&name).then_some(name)
}

/// Checks a given name.
///
/// # Errors
/// [`Error::AppName`], with a valid name as a suggestion.
pub fn check(name: &str) -> Result<String, Error> {
    if is_valid(name) {
        return Ok(name.to_owned());
    }
    let fix = derive(name).unwrap_or_else(|| "shop".into());
    Err(Error::AppName { name: name.to_owned(), fix })
}

/// Makes a name from the last part of a path, without `.toml`.
///
/// # Errors
/// [`Error::NoAppName`] where that part has no letter or digit of ASCII, or there is none.
pub fn from_path(path: &Path) -> Result<String, Error> {
    let last = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    derive(last.strip_suffix(".toml").unwrap_or(&last)).ok_or_else(|| Error::NoAppName(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_names() {
        for name in ["shop", "0", "a_b_9", "x".repeat(32).as_str()] {
            assert_eq!(check(name).as_deref(), Ok(name));
        }
        for name in ["", "_a", "Shop", "a-b", "a.b", "a@b", "é", "a/b", "x".repeat(33).as_str()] {
            assert!(check(name).is_err(), "{name}");
        }
        let error = check("My-Shop").unwrap_err().to_string();
        assert!(error.ends_with("e.g. \"my_shop\""), "{error}");
    }

    #[test]
    fn made_from_paths() {
        let cases: &[(&str, Option<&str>)] = &[
            ("/srv/shop", Some("shop")),
            ("/srv/My Shop.com/", Some("my_shop_com")),
            ("/etc/kqueue/shop.toml", Some("shop")),
            ("/srv/_x", Some("x")),
            ("/srv/été", Some("t_")),
            ("/srv/---", None),
            ("/", None),
        ];
        for (path, name) in cases {
            assert_eq!(from_path(Path::new(path)).ok().as_deref(), *name, "{path}");
        }
        assert_eq!(from_path(Path::new(&"y".repeat(99))).map(|n| n.len()), Ok(32));
    }
}
