//! Connections to servers, made the same way for every store that has one.

mod tls;
mod words;

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

pub(crate) use tls::Tls;
pub(crate) use words::{TIMEOUT_WANTS, decode, timeout};

use crate::data::{Error, Result};

/// How long making a connection may take, name resolution and TLS included.
pub(crate) const CONNECTING: Duration = Duration::from_secs(5);
/// How long the kernel keeps sending what nobody acknowledges before it gives the connection up.
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);

/// What a connection is to whoever speaks a protocol over it.
pub(crate) trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

/// Where to connect to, and how.
pub(crate) struct Peer<'a> {
    /// What errors name the store by.
    pub(crate) store: &'static str,
    /// What messages name the server by.
    pub(crate) shown: &'a str,
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    pub(crate) tls: Option<&'a Tls>,
}

impl Peer<'_> {
    /// Connects. Whoever asks bounds the time, by [`CONNECTING`] say: only he knows what its end means.
    ///
    /// # Errors
    ///
    /// `Unavailable` if there is no connection to be had; `Rejected` if the certificate does not fit; `Invalid` if a
    /// file for TLS cannot be used.
    #[cfg(any(feature = "etcd", feature = "redis"))]
    pub(crate) async fn dial(&self) -> Result<Box<dyn Bytes>> {
        let socket = self.connect().await?;
        self.secure(socket).await
    }

    /// The first half of [`dial`](Self::dial), for protocols that ask for TLS in their own words.
    pub(crate) async fn connect(&self) -> Result<TcpStream> {
        let socket = TcpStream::connect((self.host, self.port))
            .await
            .map_err(|error| self.connecting(error))?;
        set_up(&socket).map_err(|error| self.connecting(error))?;
        Ok(socket)
    }

    /// The second half of [`dial`](Self::dial).
    pub(crate) async fn secure(&self, socket: TcpStream) -> Result<Box<dyn Bytes>> {
        match self.tls {
            None => Ok(Box::new(socket)),
            Some(tls) => Ok(Box::new(tls.wrap(socket, self).await?)),
        }
    }

    fn connecting(&self, error: io::Error) -> Error {
        let shown = self.shown;
        let what = match error.kind() {
            io::ErrorKind::ConnectionRefused => {
                format!("{shown} refuses connections: is the server running there?")
            }
            io::ErrorKind::TimedOut => format!("{shown} does not accept the connection in time"),
            _ => format!("cannot connect to {shown}: {error}"),
        };
        self.unavailable(what).because(error)
    }

    fn unavailable(&self, what: String) -> Error {
        Error::unavailable(self.store, what)
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::net::sockopt;

    use super::*;

    /// Read back from the kernel: a peer that has vanished is noticed after 5 + 3 · 2 s of silence, or when 10 s have
    /// passed with something that nobody acknowledges.
    #[tokio::test]
    async fn the_kernel_is_told_to_notice_a_peer_that_has_vanished() {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
            .await
            .unwrap();
        let peer = Peer {
            store: "test",
            shown: "test",
            host: "127.0.0.1",
            port: listener.local_addr().unwrap().port(),
            tls: None,
        };
        let socket = peer.connect().await.unwrap();
        let secs = Duration::from_secs;
        assert!(sockopt::socket_keepalive(&socket).unwrap());
        assert_eq!(sockopt::tcp_keepidle(&socket).unwrap(), secs(5));
        assert_eq!(sockopt::tcp_keepintvl(&socket).unwrap(), secs(2));
        assert_eq!(sockopt::tcp_keepcnt(&socket).unwrap(), 3);
        assert_eq!(sockopt::tcp_user_timeout(&socket).unwrap(), 10_000);
        let linger = sockopt::socket_linger(&socket).unwrap();
        assert_eq!(linger, Some(Duration::ZERO), "closing resets");
        assert!(socket.nodelay().unwrap());
    }
}
