//! A client of the control socket.

use std::io;
use std::path::Path;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::Request;

/// Timeout of a reply.
const PATIENCE: Duration = Duration::from_secs(8);
/// Maximum size of a reply in bytes.
const LARGEST: u64 = 8 << 20;

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nothing listens on the socket.
    #[error("nothing is listening")]
    NotRunning,
    /// We lack permission.
    #[error("permission denied")]
    Denied,
    /// The runtime does not answer.
    #[error("no reply")]
    Silent,
    /// The reply cannot be parsed.
    #[error("invalid reply")]
    Nonsense,
    /// The runtime is of a version that does not know the request.
    #[error("the runtime is of an older version, which does not support this request; restart it")]
    Older,
    /// The runtime cannot answer, for this reason.
    #[error("{0}")]
    Unable(String),
    /// An error of the operating system.
    #[error("{0}")]
    Io(io::Error),
}

/// Requests the snapshot of the runtime that listens on `socket`.
///
/// # Errors
/// See [`AskError`].
pub async fn ask(socket: &Path) -> Result<Value, AskError> {
    within(exchange(socket, &Request::Snapshot)).await
}

/// Sends a request to the runtime that listens on `socket`.
///
/// # Errors
/// See [`AskError`].
pub async fn request<T: DeserializeOwned>(socket: &Path, request: &Request) -> Result<T, AskError> {
    let value = within(exchange(socket, request)).await?;
    if let Some(why) = value.get("unable").and_then(Value::as_str) {
        return Err(AskError::Unable(why.to_owned()));
    }
    // A runtime of a version without requests always replies with its snapshot.
    if !matches!(request, Request::Snapshot) && value.get("launcher").is_some() {
        return Err(AskError::Older);
    }
    serde_json::from_value(value).map_err(|_| AskError::Nonsense)
}

/// Sends a request to the runtime that listens on `socket`, and returns the raw reply: for callers that parse it into a
/// type of their own, which takes less memory.
///
/// # Errors
/// See [`AskError`]; a reply that the runtime refuses or is unable to answer is no error here.
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
    // A runtime without requests may have closed its end already; its reply can still be read.
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
