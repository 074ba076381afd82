//! A message by HTTP, signed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, Mac};
use hyper::header::{CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use kqueue_config::Alerts as Targets;
use kqueue_system::harmless;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use sha2::Sha256;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Untold;

/// What one request may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of a secret.
const SECRET: u64 = 4096;

/// Sends it once.
///
/// # Errors
/// [`Untold::Never`] where the other side has refused it, or nothing can be sent; else [`Untold::Later`].
pub async fn post(targets: &Targets, body: &[u8]) -> Result<(), Untold> {
    let Some(url) = &targets.webhook else { return Ok(()) };
    let signature = match &targets.webhook_secret {
        None => None,
        Some(secret) => Some(sign(&read(secret).map_err(Untold::Never)?, body)),
    };
    let uri: Uri = url.parse().map_err(|error| Untold::Never(format!("{url}: {error}")))?;
    match tokio::time::timeout(PATIENCE, send(&uri, signature, body)).await {
        Ok(Ok(status)) if status.is_success() => Ok(()),
        Ok(Ok(status)) => {
            let why = format!("{}: HTTP {}", place(&uri), status.as_u16());
            let later = status.is_server_error()
                || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
            Err(if later { Untold::Later(why) } else { Untold::Never(why) })
        }
        Ok(Err(why)) => Err(Untold::Later(format!("{}: {}", place(&uri), harmless::line(&why, 300)))),
        Err(_) => Err(Untold::Later(format!("{}: no answer within {} s", place(&uri), PATIENCE.as_secs()))),
    }
}

/// Where it goes, without what may be secret of it.
fn place(uri: &Uri) -> String {
    format!("{}://{}", uri.scheme_str().unwrap_or("http"), uri.host().unwrap_or_default())
}

/// HMAC-SHA256, as `sha256=` and hexadecimal digits.
pub fn sign(secret: &[u8], body: &[u8]) -> String {
    // A key of any length is one.
    let mac = Hmac::<Sha256>::new_from_slice(secret).map(|mac| mac.chain_update(body).finalize().into_bytes());
    format!("sha256={}", mac.map(hex::encode).unwrap_or_default())
}

/// The secret in a file, or in a credential of the unit, without the line break at its end.
///
/// # Errors
/// In one line.
pub fn read(secret: &Path) -> Result<Vec<u8>, String> {
    use std::io::Read;
    let file: PathBuf = match std::env::var_os("CREDENTIALS_DIRECTORY") {
        Some(directory) if secret.is_relative() => Path::new(&directory).join(secret),
        None if secret.is_relative() => {
            return Err(format!(
                "webhook_secret: the unit has no credential {}: set LoadCredential=",
                secret.display()
            ));
        }
        _ => secret.to_owned(),
    };
    let cannot = |error: std::io::Error| format!("webhook_secret: {}: {error}", file.display());
    let mut bytes = Vec::new();
    std::fs::File::open(&file).map_err(cannot)?.take(SECRET).read_to_end(&mut bytes).map_err(cannot)?;
    while bytes.last().is_some_and(u8::is_ascii_whitespace) {
        bytes.pop();
    }
    match bytes.is_empty() {
        true => Err(format!("webhook_secret: {} is empty", file.display())),
        false => Ok(bytes),
    }
}

async fn send(uri: &Uri, signature: Option<String>, body: &[u8]) -> Result<StatusCode, String> {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
    let tls = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
    let stream = TcpStream::connect((host.as_str(), port)).await.map_err(|error| error.to_string())?;
    let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::post(path)
        .header(HOST, authority)
        .header(CONTENT_TYPE, "application/json")
        .header(USER_AGENT, concat!("kqueue/", env!("CARGO_PKG_VERSION")));
    if let Some(signature) = signature {
        request = request.header("X-Kqueue-Signature", signature);
    }
    let body = String::from_utf8_lossy(body).into_owned();
    let request = request.body(body).map_err(|error| error.to_string())?;
    if !tls {
        return exchange(stream, request).await;
    }
    let name = ServerName::try_from(host).map_err(|error| error.to_string())?;
    let stream = TlsConnector::from(trust().await?).connect(name, stream).await.map_err(|error| error.to_string())?;
    exchange(stream, request).await
}

/// Trusts whom the machine trusts. Read each time: certificates are renewed, and alerts are few.
async fn trust() -> Result<Arc<ClientConfig>, String> {
    let read = || {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
        Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
    };
    tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string())?
}

/// The status of the answer; whatever else it has is not read.
async fn exchange<S>(stream: S, request: Request<String>) -> Result<StatusCode, String>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    let mut answer = std::pin::pin!(sender.send_request(request));
    // Both may be over at once: then the answer is there.
    let answer = tokio::select! {
        biased;
        answer = &mut answer => answer,
        _ = connection => answer.await,
    };
    answer.map(|answer| answer.status()).map_err(|error| error.to_string())
}
