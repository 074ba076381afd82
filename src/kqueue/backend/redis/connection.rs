//! One connection, whose replies have a bound: what listens there may be anything.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ConnectionAddr, RedisConnectionInfo, RedisResult};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::AbortHandle;

use crate::backend::{BUDGET, LARGEST};

/// Bytes that may come after a command was sent. The largest reply carries a full batch, each job twice.
const MAX_REPLY: usize = 2 * (BUDGET + LARGEST) + (32 << 20);

/// A connection that is closed with its last clone, whatever is under way on it.
#[derive(Clone)]
pub(super) struct Connection {
    inner: MultiplexedConnection,
    _driver: Rc<Driver>,
    cut: Arc<AtomicBool>,
}

/// The task that reads and writes.
struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connection {
    /// Connects. `response` is what a command may take.
    pub(super) async fn dial(addr: &ConnectionAddr, response: Option<Duration>) -> RedisResult<Self> {
        match addr {
            ConnectionAddr::Unix(path) => Self::over(UnixStream::connect(path).await?, response).await,
            ConnectionAddr::Tcp(host, port) => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                Self::over(stream, response).await
            }
            _ => Err(io::Error::from(io::ErrorKind::Unsupported).into()),
        }
    }

    async fn over<S>(stream: S, response: Option<Duration>) -> RedisResult<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // AUTH and SELECT are ours, so that a full or failing server is not taken for a wrong password.
        let bare = RedisConnectionInfo::default().set_skip_set_lib_name();
        let config = AsyncConnectionConfig::new().set_response_timeout(response);
        let cut = Arc::new(AtomicBool::new(false));
        let stream = Bounded { stream, left: MAX_REPLY, cut: cut.clone() };
        let (inner, driver) = MultiplexedConnection::new_with_config(&bare, stream, config).await?;
        Ok(Self { inner, _driver: Rc::new(Driver(tokio::spawn(driver).abort_handle())), cut })
    }

    /// Why it was closed by us, if it was: the client library does not pass it on.
    pub(super) fn fault(&self) -> Option<String> {
        let cut = self.cut.load(Ordering::Relaxed);
        cut.then(|| {
            format!("a reply of more than {} MB, which no queue has; the connection is closed", MAX_REPLY >> 20)
        })
    }

    /// What commands run on.
    pub(super) fn inner(&mut self) -> &mut MultiplexedConnection {
        &mut self.inner
    }
}

/// A stream that fails once too much comes without a command in between.
struct Bounded<S> {
    stream: S,
    left: usize,
    cut: Arc<AtomicBool>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        let came = buf.filled().len().saturating_sub(before);
        match self.left.checked_sub(came) {
            Some(left) => self.left = left,
            None => {
                self.cut.store(true, Ordering::Relaxed);
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
        }
        polled
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
