//! TLS to a server, with its certificate verified.
//!
//! The cryptography provider is handed over, never installed for the process nor looked up there: a process with none,
//! or with another one, is not touched and does not break this.

use std::fmt::{self, Display};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{self, CertificateError, ClientConfig, RootCertStore, crypto::ring};

use super::Peer;
use crate::data::{Error, Result};

/// How the server's certificate is verified, and what we show it.
#[derive(Clone, Default)]
pub(crate) struct Tls {
    /// Trust these authorities alone, not those of the system.
    pub(crate) authority: Option<PathBuf>,
    /// Our certificate, which goes with [`key`](Self::key).
    pub(crate) certificate: Option<PathBuf>,
    /// Its key.
    pub(crate) key: Option<PathBuf>,
    /// The protocol to agree on, where a server speaks several.
    protocol: Option<&'static [u8]>,
    /// Made of them by the first connection, for all of them.
    config: Arc<OnceLock<Arc<ClientConfig>>>,
}

/// Shows whom it trusts, and nothing of what is ours.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.authority.fmt(f)
    }
}

impl Tls {
    /// Agrees on this protocol.
    #[cfg(feature = "etcd")]
    pub(crate) fn speaking(protocol: &'static [u8]) -> Self {
        Self {
            protocol: Some(protocol),
            ..Self::default()
        }
    }

    /// Makes the connection an encrypted one, to the host that is named.
    pub(super) async fn wrap(
        &self,
        socket: TcpStream,
        peer: &Peer<'_>,
    ) -> Result<TlsStream<TcpStream>> {
        let config = match self.config.get() {
            Some(config) => Arc::clone(config),
            None => {
                let made = Arc::new(self.config(peer.store)?);
                Arc::clone(self.config.get_or_init(|| made))
            }
        };
        let name = ServerName::try_from(peer.host.to_owned()).map_err(|_| {
            Error::invalid(format!(
                "{} is not a name a certificate can be for",
                peer.host
            ))
        })?;
        let connector = TlsConnector::from(config);
        connector.connect(name, socket).await.map_err(|error| {
            // A connection that breaks off while it is made says nothing about certificates.
            let of_tls = error
                .get_ref()
                .and_then(|inner| inner.downcast_ref::<rustls::Error>());
            let hint = of_tls.map_or("", |error| self.hint(error));
            let what = format!("no TLS connection to {}: {error}{hint}", peer.shown);
            if of_tls.is_some() {
                Error::rejected(peer.store, what).because(error)
            } else {
                peer.unavailable(what).because(error)
            }
        })
    }

    /// What to do about it, where that is known.
    fn hint(&self, error: &rustls::Error) -> &'static str {
        match error {
            rustls::Error::InvalidCertificate(
                // The second: another authority of the same name.
                CertificateError::UnknownIssuer | CertificateError::BadSignature,
            ) => match self.authority {
                None => "; if its authority is not one of the system's, name its file with ca=FILE",
                Some(_) => "; the file of ca= does not hold its authority",
            },
            rustls::Error::AlertReceived(_) => self.refusal(&error.to_string()).unwrap_or(""),
            _ => "",
        }
    }

    /// What to do about words that tell of a server which did not like what we showed it. Since TLS 1.3 it says so
    /// after the connection has been made, to whoever reads first.
    pub(crate) fn refusal(&self, said: &str) -> Option<&'static str> {
        let alert = said.split_once("received fatal alert: ")?.1;
        let about = [
            "CertificateRequired",
            "HandshakeFailure",
            "BadCertificate",
            "UnknownCA",
            "CertificateUnknown",
            "CertificateExpired",
            "CertificateRevoked",
            "UnsupportedCertificate",
            "AccessDenied",
        ];
        let about = about.iter().any(|word| alert.starts_with(word));
        about.then_some(match self.certificate {
            None => {
                "; it wants a certificate of its clients: give yours with cert=FILE and key=FILE"
            }
            Some(_) => "; it does not accept the certificate of cert=",
        })
    }

    /// Reads the files, which takes a while: once for a store.
    fn config(&self, store: &'static str) -> Result<ClientConfig> {
        let provider = Arc::new(ring::default_provider());
        let trusting = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::rejected(store, "no version of TLS fits").because(error))?
            .with_root_certificates(self.roots()?);
        let mut config = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => {
                let chain = certificates("cert", certificate)?;
                let secret = PrivateKeyDer::from_pem_file(key)
                    .map_err(|error| unusable("key", key, &error))?;
                trusting
                    .with_client_auth_cert(chain, secret)
                    .map_err(|error| unusable("key", key, &error))?
            }
            _ => trusting.with_no_client_auth(),
        };
        config.alpn_protocols = self.protocol.into_iter().map(<[u8]>::to_vec).collect();
        Ok(config)
    }

    fn roots(&self) -> Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        let Some(file) = &self.authority else {
            // Certificates of the system that cannot be read are its matter; without any, nothing is trusted.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            return Ok(roots);
        };
        for certificate in certificates("ca", file)? {
            roots
                .add(certificate)
                .map_err(|error| unusable("ca", file, &error))?;
        }
        Ok(roots)
    }
}

fn certificates(option: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let all: std::result::Result<Vec<_>, _> = CertificateDer::pem_file_iter(file)
        .map_err(|error| unusable(option, file, &error))?
        .collect();
    let all = all.map_err(|error| unusable(option, file, &error))?;
    if all.is_empty() {
        return Err(unusable(option, file, &"there is no certificate in it"));
    }
    Ok(all)
}

fn unusable(option: &str, file: &Path, error: &dyn Display) -> Error {
    Error::invalid(format!(
        "{option}={} cannot be used: {error}",
        file.display()
    ))
}
