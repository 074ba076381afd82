//! Asks a runtime.

use std::io;
use std::path::Path;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::Request;

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
    /// What came is no answer.
    #[error("it gives an answer that cannot be read")]
    Nonsense,
    /// It is of a version that knows no such request.
    #[error("it is of an older version, which cannot tell that; restart it")]
    Older,
    /// It says why it cannot answer.
    #[error("{0}")]
    Unable(String),
    /// The system said no.
    #[error("{0}")]
    Io(io::Error),
}

/// Asks the runtime that listens on `socket` for its snapshot.
///
/// # Errors
/// See [`AskError`].
pub async fn ask(socket: &Path) -> Result<Value, AskError> {
    within(exchange(socket, &Request::Snapshot)).await
}

/// Asks the runtime that listens on `socket`.
///
/// # Errors
/// See [`AskError`].
pub async fn request<T: DeserializeOwned>(socket: &Path, request: &Request) -> Result<T, AskError> {
    let value = within(exchange(socket, request)).await?;
    if let Some(why) = value.get("unable").and_then(Value::as_str) {
        return Err(AskError::Unable(why.to_owned()));
    }
    // A runtime that reads no requests answers everybody with its snapshot.
    if !matches!(request, Request::Snapshot) && value.get("launcher").is_some() {
        return Err(AskError::Older);
    }
    serde_json::from_value(value).map_err(|_| AskError::Nonsense)
}

/// Asks the runtime that listens on `socket`, and returns what it answers as it is: for whoever reads it into a form of
/// its own, which takes less memory than any form would.
///
/// # Errors
/// See [`AskError`]; what a runtime says that is unable to answer is no error here.
pub async fn raw(socket: &Path, request: &Request) -> Result<Vec<u8>, AskError> {
    tokio::time::timeout(PATIENCE, transfer(socket, request)).await.unwrap_or(Err(AskError::Silent))
}

async fn within(exchange: impl Future<Output = Result<Value, AskError>>) -> Result<Value, AskError> {
    tokio::time::timeout(PATIENCE, exchange).await.unwrap_or(Err(AskError::Silent))
}

async fn exchange(socket: &Path, request: &Request) -> Result<Value, AskError> {
    let bytes = transfer(socket, request).await?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|_| AskError::Nonsense)?;
    match value.get("refused") {
        Some(_) => Err(AskError::Denied),
        None if value.is_object() => Ok(value),
        None => Err(AskError::Nonsense),
    }
}

async fn transfer(socket: &Path, request: &Request) -> Result<Vec<u8>, AskError> {
    let mut stream = UnixStream::connect(socket).await.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => AskError::NotRunning,
        io::ErrorKind::PermissionDenied => AskError::Denied,
        _ => AskError::Io(error),
    })?;
    let mut line = serde_json::to_vec(request).map_err(|error| AskError::Io(error.into()))?;
    line.push(b'\n');
    // One that reads nothing may have closed its end already: what it has said is there to be read.
    let _ = stream.write_all(&line).await;
    let mut bytes = Vec::new();
    match stream.take(LARGEST).read_to_end(&mut bytes).await {
        Err(error) if bytes.is_empty() => return Err(AskError::Io(error)),
        _ => {}
    }
    if bytes.is_empty() {
        return Err(AskError::Silent);
    }
    Ok(bytes)
}
