//! The socket: who may be listened to, how many connections there may be, TLS with certificates that can be renewed.

use crate::config::{ServeConfig, TlsConfig};
use crate::error::Error;
use axum::Router;
use axum_server::Handle;
use axum_server::accept::Accept;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use std::future::{Ready, ready};
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Longest head of a request, bytes; also what is read of a body at a time.
const MAX_HEAD: usize = 64 << 10;
/// Requests at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 64;
/// Between two looks at the certificate's files.
const RENEWAL: Duration = Duration::from_secs(2);
/// Told to a connection too many, as it has not said anything yet.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 2\r\nconnection: close\r\n\
    content-type: application/json\r\ncontent-length: 126\r\n\r\n\
    {\"error\":{\"message\":\"there are too many connections; try again\",\"type\":\"service_unavailable\",\"param\":null,\"code\":\"busy\"}}     ";

/// A socket that is bound and not served yet.
pub(in crate::app::serve) struct Listening {
    /// Where, with the real port.
    pub address: SocketAddr,
    /// Whether anybody who reaches the address may use the service from another machine.
    pub exposed: bool,
    listener: TcpListener,
    tls: Option<RustlsConfig>,
    header_timeout: Duration,
    connections: Arc<Semaphore>,
}

/// Binds the socket and reads the certificate.
///
/// # Errors
/// One sentence when the address is taken or unknown, when it is open to others without keys, or when the certificate
/// cannot be used.
pub(in crate::app::serve) async fn bind(config: &ServeConfig) -> Result<Listening, Error> {
    let (host, port) = (config.host.as_str(), config.port);
    let taken = |error: io::Error| {
        Error::Usage(format!("cannot listen on {host} port {port}: {error}; choose another with --host and --port"))
    };
    let addresses: Vec<SocketAddr> = (host.trim_matches(['[', ']']), port).to_socket_addrs().map_err(taken)?.collect();
    let open = addresses.iter().any(|address| !address.ip().to_canonical().is_loopback()) && config.keys.is_empty();
    if open && !config.insecure {
        return Err(Error::Usage(format!(
            "{host} can be reached from other machines and there are no keys: make one with `bestbox keys new NAME`, or \
             let everybody in with --insecure"
        )));
    }
    let tls = tls(&config.tls).await?;
    let listener = TcpListener::bind(addresses.as_slice()).map_err(taken)?;
    let address = listener.local_addr().map_err(taken)?;
    let connections = Arc::new(Semaphore::new(config.max_connections as usize));
    let header_timeout = Duration::from_secs_f64(config.header_timeout_seconds);
    Ok(Listening { address, exposed: open, listener, tls, header_timeout, connections })
}

impl Listening {
    /// Where clients find it.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.tls.is_some() { "https" } else { "http" }, self.address)
    }

    /// Serves until `handle` ends it.
    ///
    /// # Errors
    /// When the socket fails.
    pub async fn serve(self, router: Router, handle: Handle<SocketAddr>) -> io::Result<()> {
        raise_limits();
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        let gate = Gate { places: self.connections, refusal: if self.tls.is_some() { b"" } else { FULL } };
        let mut server =
            axum_server::from_tcp(self.listener)?.handle(handle).first_request_timeout(self.header_timeout);
        // HTTP/2 only where it has been agreed on (TLS); plain connections speak HTTP/1.
        let builder = Builder::new(TokioExecutor::new());
        *server.http_builder() = if self.tls.is_some() { builder } else { builder.http1_only() };
        protocol(server.http_builder(), self.header_timeout);
        match self.tls {
            None => server.acceptor(gate).serve(service).await,
            Some(config) => {
                let acceptor = RustlsAcceptor::new(config).handshake_timeout(self.header_timeout).acceptor(gate);
                server.acceptor(acceptor).serve(service).await
            }
        }
    }
}

/// Limits of the protocol itself. The header timeout of HTTP/1 runs from the end of the request before, so it is the
/// idle timeout of a kept connection too.
fn protocol(builder: &mut Builder<TokioExecutor>, header_timeout: Duration) {
    builder.http1().timer(TokioTimer::new()).header_read_timeout(header_timeout).max_buf_size(MAX_HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD as u32)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20));
}

async fn tls(config: &TlsConfig) -> Result<Option<RustlsConfig>, Error> {
    if config.certificate.as_os_str().is_empty() {
        return Ok(None);
    }
    let stamp = Stamp::of(config);
    let found = RustlsConfig::from_pem_file(&config.certificate, &config.key).await.map_err(|error| {
        let (certificate, key) = (config.certificate.display(), config.key.display());
        Error::Usage(format!(
            "TLS cannot start with the certificate {certificate} and the key {key}: {error}; check serve.tls"
        ))
    })?;
    tokio::spawn(renew(found.clone(), config.clone(), stamp));
    Ok(Some(found))
}

/// Takes up a new certificate when its files have changed. One that cannot be used (often: only one of the two files
/// is new yet) is tried again at the next change; until then the old one stays.
async fn renew(tls: RustlsConfig, files: TlsConfig, mut seen: Stamp) {
    loop {
        tokio::time::sleep(RENEWAL).await;
        let now = Stamp::of(&files);
        if now == seen {
            continue;
        }
        seen = now;
        match tls.reload_from_pem_file(&files.certificate, &files.key).await {
            Ok(()) => tracing::info!(target: "bestbox::access", "the certificate has been renewed"),
            Err(error) => tracing::warn!(%error, "the new certificate cannot be used; the old one stays"),
        }
    }
}

/// When both files were changed, and how long they are.
#[derive(PartialEq, Eq)]
struct Stamp([Option<(SystemTime, u64)>; 2]);

impl Stamp {
    fn of(files: &TlsConfig) -> Self {
        let stamp = |path: &Path| {
            let data = std::fs::metadata(path).ok()?;
            Some((data.modified().ok()?, data.len()))
        };
        Stamp([stamp(&files.certificate), stamp(&files.key)])
    }
}

/// As many open files as the system lets us have, and a file that may not grow is an error of its write, not the end
/// of the service.
fn raise_limits() {
    #[cfg(unix)]
    {
        use nix::sys::resource::{Resource, getrlimit, setrlimit};
        use nix::sys::signal::{SigHandler, Signal, signal};
        if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
            && soft < hard
        {
            let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
        }
        // SAFETY: ignoring a signal installs no handler, so nothing of ours can run in its context.
        let _ = unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) };
    }
}

/// Counts connections, and turns away those that are too many.
#[derive(Clone)]
struct Gate {
    places: Arc<Semaphore>,
    refusal: &'static [u8],
}

impl<S> Accept<TcpStream, S> for Gate {
    type Stream = Counted;
    type Service = S;
    type Future = Ready<io::Result<(Counted, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            let _ = stream.try_write(self.refusal);
            return ready(Err(io::Error::other("there are too many connections")));
        };
        // Segments and deltas go out as they come.
        let _ = stream.set_nodelay(true);
        ready(Ok((Counted { stream, _place: place }, service)))
    }
}

/// A connection that gives its place back when it ends.
struct Counted {
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_connection_too_many_is_told_is_a_whole_response() {
        let text = std::str::from_utf8(FULL).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
        let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(body["error"]["code"], "busy");
    }

    #[tokio::test]
    async fn other_machines_are_let_in_only_with_keys_or_on_request() {
        let config = |host: &str| ServeConfig { host: host.into(), port: 0, ..ServeConfig::default() };
        for host in ["0.0.0.0", "::"] {
            let error = bind(&config(host)).await.err().expect("refused").to_string();
            assert!(error.contains("--insecure") && error.contains("bestbox keys new"), "{error}");
        }
        for host in ["127.0.0.1", "localhost"] {
            assert!(!bind(&config(host)).await.expect("bound").exposed);
        }
        let insecure = ServeConfig { insecure: true, ..config("0.0.0.0") };
        assert!(bind(&insecure).await.expect("bound").exposed);
        let keys = vec![crate::config::KeyConfig::default()];
        assert!(!bind(&ServeConfig { keys, ..config("0.0.0.0") }).await.expect("bound").exposed);
    }
}
