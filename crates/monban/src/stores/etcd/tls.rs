//! TLS for connections to etcd.
//!
//! The cryptography provider is handed over, never installed for the process nor looked up there: a process with none,
//! or with another one, is not touched and does not break this.

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore, crypto::ring};

use super::address::{Host, Tls};
use super::faults;
use crate::data::{Error, Result};

/// Makes the connection an encrypted one, to the host that the address names.
///
/// # Errors
///
/// `Invalid` if a file cannot be used, `Rejected` if a certificate does not fit.
pub(super) async fn wrap(
    socket: TcpStream,
    host: &Host,
    tls: &Tls,
) -> Result<TlsStream<TcpStream>> {
    let config = match tls.config.get() {
        Some(config) => Arc::clone(config),
        None => {
            let made = Arc::new(config(tls)?);
            Arc::clone(tls.config.get_or_init(|| made))
        }
    };
    let name = ServerName::try_from(host.name.clone()).map_err(|_| {
        Error::invalid(format!(
            "{} is not a name a certificate can be for",
            host.name
        ))
    })?;
    let connector = TlsConnector::from(config);
    connector.connect(name, socket).await.map_err(|error| {
        let what = format!("no TLS connection to {host}: {error}");
        // A connection that breaks off while it is made says nothing about certificates.
        let of_tls = error
            .get_ref()
            .is_some_and(|inner| inner.is::<rustls::Error>());
        if of_tls {
            faults::rejected(what).because(error)
        } else {
            faults::unavailable(what).because(error)
        }
    })
}

/// Reads the files, which takes a while: once for a store.
fn config(tls: &Tls) -> Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let trusting = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| faults::rejected("no version of TLS fits".to_owned()).because(error))?
        .with_root_certificates(roots(tls)?);
    let mut config = match (&tls.certificate, &tls.key) {
        (Some(certificate), Some(key)) => {
            let chain = certificates("cert", certificate)?;
            let secret =
                PrivateKeyDer::from_pem_file(key).map_err(|error| unusable("key", key, &error))?;
            trusting
                .with_client_auth_cert(chain, secret)
                .map_err(|error| unusable("key", key, &error))?
        }
        _ => trusting.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()]; // without it etcd takes us for a client of its JSON
    Ok(config)
}

fn roots(tls: &Tls) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let Some(file) = &tls.authority else {
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
