//! How a server is spoken to: in which HTTP, and whether over TLS, by which it then proves who it is. It is never
//! spoken to in another: what an operator wrote is what happens, or nothing.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio_rustls::TlsConnector;

use crate::config::upstream::{Member, Server, Tls};
use crate::edge::acme::store::Kept;
use crate::edge::certificates::{TlsError, load, parse_chain, read};

/// How one server is spoken to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Way {
    /// HTTP/2, else HTTP/1.1.
    pub http2: bool,
    /// Over TLS.
    pub tls: Option<Arc<Named>>,
}

/// TLS with a server of that name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    secure: Arc<Secure>,
    /// `None` for one that has none: no certificate could be its own.
    name: Option<ServerName<'static>>,
}

/// What a group's TLS goes by.
pub struct Secure {
    config: Arc<ClientConfig>,
    http2: bool,
    server_name: Option<String>,
    /// Nothing for the public CAs.
    roots: Vec<CertificateDer<'static>>,
    /// What the gate shows.
    shown: Vec<CertificateDer<'static>>,
}

impl Secure {
    /// Reads who may vouch for the servers, and what is shown to them.
    pub fn of(tls: &Tls, http2: bool) -> Result<Self, TlsError> {
        let mut store = RootCertStore::empty();
        let roots = match &tls.ca {
            Some(path) => {
                let roots = parse_chain(read(path)?.as_bytes(), path)?;
                let unusable = |reason: &dyn ToString| TlsError::Unusable {
                    path: path.clone(),
                    reason: reason.to_string(),
                };
                for root in &roots {
                    store.add(root.clone()).map_err(|error| unusable(&error))?;
                }
                if store.is_empty() {
                    return Err(unusable(&"no certificate in it"));
                }
                roots
            }
            None => {
                store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
                Vec::new()
            }
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(store);
        let mut shown = Vec::new();
        let mut config = match &tls.identity {
            Some(files) => {
                let Kept { chain, key, .. } = load(files)?;
                shown.clone_from(&chain);
                let unfit = |error: rustls::Error| TlsError::Unusable {
                    path: files.certificate.clone(),
                    reason: format!("certificate and key do not go together: {error}"),
                };
                builder.with_client_auth_cert(chain, key).map_err(unfit)?
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![if http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        let server_name = tls.server_name.clone();
        Ok(Self { config: Arc::new(config), http2, server_name, roots, shown })
    }
}

impl PartialEq for Secure {
    fn eq(&self, other: &Self) -> bool {
        (self.http2, &self.server_name, &self.roots, &self.shown)
            == (other.http2, &other.server_name, &other.roots, &other.shown)
    }
}

impl Eq for Secure {}

impl fmt::Debug for Secure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secure").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

impl Way {
    /// To a server of a group.
    pub fn to(member: &Member, http2: bool, secure: Option<&Arc<Secure>>) -> Self {
        let tls = secure.map(|secure| {
            let own = match &member.server {
                Server::Tcp(address) => Some(ServerName::from(address.ip())),
                Server::Unix(_) => None,
            };
            let said = secure.server_name.as_deref().or(member.name.as_deref());
            let name = said.map_or(own, |name| ServerName::try_from(name.to_owned()).ok());
            Arc::new(Named { secure: Arc::clone(secure), name })
        });
        Self { http2, tls }
    }
}

impl Named {
    /// What connects, and to whom.
    pub fn connector(&self) -> Option<(TlsConnector, ServerName<'static>)> {
        Some((TlsConnector::from(Arc::clone(&self.secure.config)), self.name.clone()?))
    }
}
