//! Authentication: a token, or a name and a password.

use std::collections::{BTreeMap, VecDeque};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

use crate::options::Options;

/// Minimum length of a token in characters.
const SHORTEST: usize = 16;
/// Maximum number of bytes read from a credential file.
const LARGEST: u64 = 256 << 10;
/// Maximum number of verified passwords that are cached: a verification takes a tenth of a second of processor time.
const REMEMBERED: usize = 64;
/// Maximum number of concurrent password verifications.
const AT_ONCE: usize = 2;

type Hash = [u8; 32];

/// The accepted credentials.
#[derive(Debug)]
pub struct Keys {
    token: Option<Hash>,
    users: BTreeMap<String, String>,
    right: Mutex<VecDeque<Hash>>,
    turns: Arc<Semaphore>,
}

impl Keys {
    /// Reads the credentials passed by the service manager, or the files named on the command line.
    ///
    /// # Errors
    /// A file that cannot be read or used, in one line.
    pub fn read(options: &Options) -> Result<Self, String> {
        let token = text(options.token.as_deref(), "kqueue-web.token")?;
        let users = text(options.htpasswd.as_deref(), "kqueue-web.htpasswd")?;
        Self::of(token.as_deref(), users.as_deref())
    }

    fn of(token: Option<&str>, users: Option<&str>) -> Result<Self, String> {
        let token = token.map(str::trim);
        if token.is_some_and(|token| token.len() < SHORTEST || token.chars().any(|c| !c.is_ascii_graphic())) {
            return Err(format!(
                "the token needs at least {SHORTEST} printable ASCII characters, without spaces: openssl rand -hex 24"
            ));
        }
        let mut known = BTreeMap::new();
        for line in
            users.unwrap_or_default().lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            let (user, hash) = line.split_once(':').ok_or("a line of the htpasswd file has no colon")?;
            if !hash.starts_with("$2") {
                return Err(format!(
                    "the password of {user} in the htpasswd file is not a bcrypt hash: run htpasswd -B FILE {user}"
                ));
            }
            known.insert(user.to_owned(), hash.to_owned());
        }
        Ok(Self {
            token: token.map(hash),
            users: known,
            right: Mutex::new(VecDeque::new()),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
        })
    }

    /// Whether authentication is required.
    pub fn is_asked(&self) -> bool {
        self.token.is_some() || !self.users.is_empty()
    }

    /// Whether this request is authenticated: by the token as `Bearer`, or as the password of any name (so that a
    /// browser can send it); or by a name and its password.
    pub async fn allow(&self, headers: &HeaderMap) -> bool {
        let Some(given) = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()) else { return false };
        let Some((scheme, value)) = given.split_once(' ') else { return false };
        if scheme.eq_ignore_ascii_case("bearer") {
            return self.is_token(value.trim());
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return false;
        }
        let Some(pair) = STANDARD.decode(value.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok()) else {
            return false;
        };
        let Some((user, password)) = pair.split_once(':') else { return false };
        self.is_token(password) || self.is_password(user, password).await
    }

    /// The user name in an allowed request, for the log. It is verified only if it came with its own password, or by a
    /// proxy in front of us.
    pub fn name(headers: &HeaderMap) -> Option<String> {
        let (scheme, value) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
        let pair = STANDARD.decode(value.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
        let user = String::from_utf8(pair).ok()?.split_once(':')?.0.to_owned();
        (!user.is_empty()).then_some(user)
    }

    /// Compares hashes, so that the time it takes reveals nothing about the token.
    fn is_token(&self, given: &str) -> bool {
        self.token.is_some_and(|token| token == hash(given))
    }

    async fn is_password(&self, user: &str, password: &str) -> bool {
        let Some(known) = self.users.get(user).cloned() else { return false };
        let pair = hash(&format!("{user}\0{password}\0{known}"));
        if self.right.lock().unwrap_or_else(PoisonError::into_inner).contains(&pair) {
            return true;
        }
        let Ok(_turn) = self.turns.acquire().await else { return false };
        let password = password.to_owned();
        let worked_out = tokio::task::spawn_blocking(move || bcrypt::verify(password, &known).unwrap_or(false));
        let is_right = worked_out.await.unwrap_or(false);
        if is_right {
            let mut right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
            right.truncate(REMEMBERED - 1);
            right.push_front(pair);
        }
        is_right
    }
}

fn hash(text: &str) -> Hash {
    Sha256::digest(text.as_bytes()).into()
}

/// The content of a file named on the command line, or of a credential; `None` if there is no such credential.
fn text(named: Option<&Path>, credential: &str) -> Result<Option<String>, String> {
    let given = std::env::var_os("CREDENTIALS_DIRECTORY").map(|directory| PathBuf::from(directory).join(credential));
    let Some(path) = named.map(Path::to_owned).or(given.filter(|path| path.exists())) else { return Ok(None) };
    let read = || {
        let mut text = String::new();
        std::fs::File::open(&path)?.take(LARGEST).read_to_string(&mut text)?;
        Ok(Some(text))
    };
    read().map_err(|error: std::io::Error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())])
    }

    fn basic(pair: &str) -> HeaderMap {
        headers(&format!("Basic {}", STANDARD.encode(pair)))
    }

    #[test]
    fn a_token_or_a_password_and_nothing_else() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let line = format!("# people\n\nanna:{}\n", bcrypt::hash("secret", 4).unwrap());
        let keys = Keys::of(Some("0123456789abcdef\n"), Some(&line)).unwrap();
        let allowed = |headers: HeaderMap| runtime.block_on(keys.allow(&headers));
        assert!(keys.is_asked());
        assert!(allowed(headers("Bearer 0123456789abcdef")) && allowed(basic("anybody:0123456789abcdef")));
        // Twice: the second time from the cache.
        assert!(allowed(basic("anna:secret")) && allowed(basic("anna:secret")));
        for wrong in [
            basic("anna:Secret"),
            basic("bert:secret"),
            basic("anna"),
            headers("Bearer 0123456789abcde"),
            headers("Basic !"),
            headers("Bearer"),
            HeaderMap::new(),
        ] {
            assert!(!allowed(wrong));
        }
    }

    #[test]
    fn keys_that_are_none() {
        for (token, users) in [
            (Some("short"), None),
            (Some("0123456789 abcdef"), None),
            (None, Some("anna")),
            (None, Some("anna:$apr1$x$y")),
        ] {
            assert!(Keys::of(token, users).is_err(), "{token:?} {users:?}");
        }
        assert!(!Keys::of(None, None).unwrap().is_asked());
        // Without a token, none matches.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        assert!(!runtime.block_on(Keys::of(None, None).unwrap().allow(&headers("Bearer "))));
    }
}
