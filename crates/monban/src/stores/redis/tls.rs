//! TLS to the server, with the certificate verified.
//!
//! The cryptography provider is handed over, never installed for the process nor looked up there: a process with none,
//! or with another one, is not touched and does not break this.

use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore, crypto::ring};

use super::address::{Address, Tls};
use super::faults;
use crate::data::{Error, Result};

/// Makes the connection an encrypted one, to the host that the address names.
///
/// # Errors
///
/// `Invalid` if the file of the authority cannot be used, `Rejected` if the certificate does not fit.
pub(super) async fn wrap(
    socket: TcpStream,
    address: &Address,
    tls: &Tls,
) -> Result<TlsStream<TcpStream>> {
    let config = match tls.config.get() {
        Some(config) => Arc::clone(config),
        None => Arc::clone(tls.config.get_or_init({
            let made = Arc::new(config(tls)?);
            || made
        })),
    };
    let name = ServerName::try_from(address.host.clone()).map_err(|_| {
        Error::invalid(format!(
            "{} is not a name a certificate can be for",
            address.host
        ))
    })?;
    let connector = TlsConnector::from(config);
    connector.connect(name, socket).await.map_err(|error| {
        let what = format!("no TLS connection to {address}: {error}");
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

/// Reads the certificates to trust, which takes a while: once for a store.
fn config(tls: &Tls) -> Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| faults::rejected("no version of TLS fits".to_owned()).because(error))?
        .with_root_certificates(roots(tls)?)
        .with_no_client_auth())
}

fn roots(tls: &Tls) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let Some(file) = &tls.authority else {
        // Certificates of the system that cannot be read are its matter; without any, nothing is trusted.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(roots);
    };
    let shown = file.display();
    let unusable = |error: &dyn std::fmt::Display| {
        Error::invalid(format!("ca={shown} cannot be used: {error}"))
    };
    let certificates = CertificateDer::pem_file_iter(file).map_err(|error| unusable(&error))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| unusable(&error))?;
        roots.add(certificate).map_err(|error| unusable(&error))?;
    }
    if roots.is_empty() {
        return Err(unusable(&"there is no certificate in it"));
    }
    Ok(roots)
}
