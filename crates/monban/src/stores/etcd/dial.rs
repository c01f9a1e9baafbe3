//! Makes the connections that the gRPC client asks for.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use hyper_util::rt::TokioIo;
use tonic::transport::Uri;
use tower_service::Service;

use super::address::Host;
use super::faults;
use crate::data::Error;
use crate::net::{Bytes, CONNECTING, Peer, Tls};

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
            let shown = dialer.host.to_string();
            let peer = Peer {
                store: faults::STORE,
                shown: &shown,
                host: &dialer.host.name,
                port: dialer.host.port,
                tls: dialer.tls.as_ref(),
            };
            let made = tokio::time::timeout(CONNECTING, peer.dial()).await;
            let made = made.unwrap_or_else(|_| {
                Err(faults::unavailable(format!(
                    "{shown} does not accept the connection in time"
                )))
            });
            dialer.failed.set(made.as_ref().err().cloned());
            made.map(TokioIo::new).map_err(io::Error::other)
        })
    }
}
