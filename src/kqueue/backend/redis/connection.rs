//! One connection with bounded replies: the peer may be anything.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisConnectionInfo, RedisResult};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::AbortHandle;

use super::address::Address;
use super::tls::Tls;
use crate::backend::{BUDGET, LARGEST};

/// Bytes that may be received after a command was sent. The largest reply carries a full batch, each job twice.
const MAX_REPLY: usize = 2 * (BUDGET + LARGEST) + (32 << 20);

/// Idle seconds of a connection before a keepalive probe, and between two probes.
const KEEPALIVE: u32 = 5;

/// A connection that is closed with its last clone, even with commands pending.
#[derive(Clone)]
pub(super) struct Connection {
    inner: MultiplexedConnection,
    _driver: Rc<Driver>,
    fault: Arc<OnceLock<String>>,
}

/// The I/O task of a connection, aborted on drop.
struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connection {
    /// Connects. `response` is the response timeout of a command, if any.
    pub(super) async fn dial(address: &Address, tls: Option<&Tls>, response: Option<Duration>) -> RedisResult<Self> {
        let (host, port) = match address {
            Address::Unix(path) => return Self::over(UnixStream::connect(path).await?, response).await,
            Address::Tcp(host, port) => (host.as_str(), *port),
        };
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        notice_death(&stream)?;
        match tls {
            None => Self::over(stream, response).await,
            Some(tls) => Self::over(tls.over(stream, host).await?, response).await,
        }
    }

    async fn over<S>(stream: S, response: Option<Duration>) -> RedisResult<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // AUTH and SELECT are sent by us, so that a full or failing server is not mistaken for a wrong password.
        let bare = RedisConnectionInfo::default().set_skip_set_lib_name();
        let config = AsyncConnectionConfig::new().set_response_timeout(response);
        let fault = Arc::new(OnceLock::new());
        let stream = Bounded { stream, left: MAX_REPLY, fault: fault.clone() };
        let (inner, driver) = MultiplexedConnection::new_with_config(&bare, stream, config).await?;
        Ok(Self { inner, _driver: Rc::new(Driver(tokio::spawn(driver).abort_handle())), fault })
    }

    /// The error of its stream, if it failed: the client library does not pass it on.
    pub(super) fn fault(&self) -> Option<io::Error> {
        self.fault.get().map(|fault| io::Error::other(fault.clone()))
    }

    /// The client library's connection, which runs commands.
    pub(super) fn inner(&mut self) -> &mut MultiplexedConnection {
        &mut self.inner
    }
}

/// Makes the kernel close a connection whose peer has vanished silently, within three times [`KEEPALIVE`]. A connection
/// to a server that only hangs stays open: its kernel replies.
fn notice_death(stream: &TcpStream) -> io::Result<()> {
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &KEEPALIVE)?;
    setsockopt(stream, sockopt::TcpKeepInterval, &KEEPALIVE)?;
    setsockopt(stream, sockopt::TcpKeepCount, &2)?;
    setsockopt(stream, sockopt::TcpUserTimeout, &(3 * 1000 * KEEPALIVE))?;
    Ok(())
}

/// A stream that fails after more than [`MAX_REPLY`] bytes were read without a write in between.
struct Bounded<S> {
    stream: S,
    left: usize,
    fault: Arc<OnceLock<String>>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        let came = buf.filled().len().saturating_sub(before);
        let failure = match (&polled, self.left.checked_sub(came)) {
            (Poll::Ready(Err(e)), _) => e.to_string(),
            (_, None) => {
                format!("received a reply of more than {} MB, the limit; closed the connection", MAX_REPLY >> 20)
            }
            (_, Some(left)) => {
                self.left = left;
                return polled;
            }
        };
        let _ = self.fault.set(failure);
        Poll::Ready(Err(io::ErrorKind::InvalidData.into()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.left = MAX_REPLY;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
