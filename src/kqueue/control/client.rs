//! The other end: asks a runtime for its snapshot.

use std::io;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

/// What a runtime may take to answer.
const PATIENCE: Duration = Duration::from_secs(8);
/// Bytes of an answer that are read: more is no snapshot.
const LARGEST: u64 = 8 << 20;

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens.
    #[error("nothing listens there")]
    NotRunning,
    /// We may not.
    #[error("permission denied")]
    Denied,
    /// It is there, and silent.
    #[error("it does not answer")]
    Silent,
    /// What came is no snapshot.
    #[error("what it answers is no snapshot")]
    Nonsense,
    /// The system said no.
    #[error("{0}")]
    Io(io::Error),
}

/// Asks the runtime that listens on `socket`. Sends nothing.
///
/// # Errors
/// See [`AskError`].
pub async fn ask(socket: &Path) -> Result<Value, AskError> {
    tokio::time::timeout(PATIENCE, read(socket)).await.unwrap_or(Err(AskError::Silent))
}

async fn read(socket: &Path) -> Result<Value, AskError> {
    let stream = UnixStream::connect(socket).await.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => AskError::NotRunning,
        io::ErrorKind::PermissionDenied => AskError::Denied,
        _ => AskError::Io(error),
    })?;
    let mut bytes = Vec::new();
    stream.take(LARGEST).read_to_end(&mut bytes).await.map_err(AskError::Io)?;
    if bytes.is_empty() {
        return Err(AskError::Silent);
    }
    let value: Value = serde_json::from_slice(&bytes).map_err(|_| AskError::Nonsense)?;
    match value.get("refused") {
        Some(_) => Err(AskError::Denied),
        None if value.is_object() => Ok(value),
        None => Err(AskError::Nonsense),
    }
}
