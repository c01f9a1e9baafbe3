//! Makes the connections that the gRPC client asks for.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tonic::transport::Uri;
use tower_service::Service;

use super::address::{Host, Tls};
use super::{faults, tls};
use crate::data::{Error, Result};

/// How long making a connection may take, name resolution and TLS included.
const CONNECTING: Duration = Duration::from_secs(5);
/// How long the kernel keeps sending what nobody acknowledges before it gives the connection up.
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);

pub(super) trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

/// Connects to one member, and remembers why it could not: the gRPC client wraps that away.
#[derive(Clone)]
pub(super) struct Dialer {
    pub(super) host: Host,
    pub(super) tls: Option<Tls>,
    pub(super) failed: Failed,
}

/// The last failure to connect, until a connection is made.
#[derive(Clone, Default)]
pub(super) struct Failed(Arc<Mutex<Option<Error>>>);

impl Failed {
    pub(super) fn set(&self, to: Option<Error>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = to;
    }

    pub(super) fn get(&self) -> Option<Error> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Service<Uri> for Dialer {
    type Response = TokioIo<Box<dyn Bytes>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let dialer = self.clone();
        Box::pin(async move {
            let made = tokio::time::timeout(CONNECTING, dialer.dial()).await;
            let made = made.unwrap_or_else(|_| {
                Err(faults::unavailable(format!(
                    "{} does not accept the connection in time",
                    dialer.host
                )))
            });
            dialer.failed.set(made.as_ref().err().cloned());
            made.map(TokioIo::new).map_err(io::Error::other)
        })
    }
}

impl Dialer {
    async fn dial(&self) -> Result<Box<dyn Bytes>> {
        let (name, port) = (self.host.name.as_str(), self.host.port);
        let socket = TcpStream::connect((name, port))
            .await
            .map_err(|error| faults::connecting(error, &self.host))?;
        set_up(&socket).map_err(|error| faults::connecting(error, &self.host))?;
        match &self.tls {
            None => Ok(Box::new(socket)),
            Some(tls) => Ok(Box::new(tls::wrap(socket, &self.host, tls).await?)),
        }
    }
}

/// Small writes go out at once; a dead peer is noticed; and closing resets, so that a request which is still on its way
/// is not carried out after everybody has given it up.
fn set_up(socket: &TcpStream) -> io::Result<()> {
    use rustix::net::sockopt;
    socket.set_nodelay(true)?;
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_socket_linger(socket, Some(Duration::ZERO))?;
    #[cfg(target_os = "linux")]
    {
        sockopt::set_tcp_keepidle(socket, Duration::from_secs(5))?;
        sockopt::set_tcp_keepintvl(socket, Duration::from_secs(2))?;
        sockopt::set_tcp_keepcnt(socket, 3)?;
        let millis = u32::try_from(UNACKNOWLEDGED.as_millis()).unwrap_or(u32::MAX);
        sockopt::set_tcp_user_timeout(socket, millis)?;
    }
    Ok(())
}
