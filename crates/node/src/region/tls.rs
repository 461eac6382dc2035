//! Who is at the other end: TLS with certificates on both sides.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

/// For connecting, and for each half of the handshake.
const CONNECT_TIME: Duration = Duration::from_secs(2);

/// The certificate of a region, a witness or a front, and the authority that has certified all of a pair.
///
/// A certificate is for one name: the region's, `witness` or `front`. TLS 1.3 only.
#[derive(Clone)]
pub struct RegionTls {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
}

/// Why certificates or keys cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegionTlsError {
    /// The text is not PEM.
    #[error("the {what} is not valid PEM: {why}")]
    Pem {
        /// Which text.
        what: &'static str,
        /// What is wrong.
        why: String,
    },
    /// TLS refuses it.
    #[error("the certificates of the pair cannot be used: {0}")]
    Refused(String),
}

impl RegionTls {
    /// From PEM: the certificate of the authority, the own certificate, and its private key.
    ///
    /// # Errors
    /// [`RegionTlsError`].
    pub fn from_pem(authority: &str, certificate: &str, key: &str) -> Result<Self, RegionTlsError> {
        let pem = |what| {
            move |why: rustls::pki_types::pem::Error| RegionTlsError::Pem { what, why: why.to_string() }
        };
        let refused = |why: &dyn fmt::Display| RegionTlsError::Refused(why.to_string());
        let mut roots = RootCertStore::empty();
        let authority =
            CertificateDer::from_pem_slice(authority.as_bytes()).map_err(pem("authority's certificate"))?;
        roots.add(authority).map_err(|e| refused(&e))?;
        let roots = Arc::new(roots);
        let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(pem("certificate"))?;
        let key = || PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(pem("private key"));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions = &[&rustls::version::TLS13];
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider));
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(|e| refused(&e))?
            .with_client_cert_verifier(verifier.build().map_err(|e| refused(&e))?)
            .with_single_cert(chain.clone(), key()?)
            .map_err(|e| refused(&e))?;
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(|e| refused(&e))?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key()?)
            .map_err(|e| refused(&e))?;
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(server)),
            connector: TlsConnector::from(Arc::new(client)),
        })
    }

    /// Connects to `address`, where `name` has to be.
    pub(super) async fn connect(
        &self,
        address: &str,
        name: &str,
    ) -> io::Result<client::TlsStream<TcpStream>> {
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let stream = timeout(CONNECT_TIME, TcpStream::connect(address)).await??;
        stream.set_nodelay(true)?;
        timeout(CONNECT_TIME, self.connector.connect(name, stream)).await?
    }

    /// Lets a client prove who it is.
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<server::TlsStream<TcpStream>> {
        stream.set_nodelay(true)?;
        timeout(CONNECT_TIME * 2, self.acceptor.accept(stream)).await?
    }
}

/// Whether the client at the other end has a certificate for `name`.
pub(super) fn is_client(stream: &server::TlsStream<TcpStream>, name: &str) -> bool {
    let (_, connection) = stream.get_ref();
    let certificate = connection.peer_certificates().and_then(<[_]>::first);
    let (Some(certificate), Ok(name)) = (certificate, ServerName::try_from(name)) else { return false };
    // The handshake has verified the certificate; this asks for its name.
    rustls::server::ParsedCertificate::try_from(certificate)
        .and_then(|certificate| rustls::client::verify_server_name(&certificate, &name))
        .is_ok()
}

impl fmt::Debug for RegionTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RegionTls")
    }
}
