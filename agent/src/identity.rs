//! The agent's key and certificate.
//!
//! Invariant: a key is on disk before its public half leaves the machine. Otherwise a crash in between
//! would burn the token, which the coordinator binds to the first key it sees.

use std::{
    io,
    path::{Path, PathBuf},
};

use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _};
use serde::{Deserialize, Serialize};
use slipstream_shared::id::InstanceId;

use crate::{
    durable::{read_if_there, write_atomic},
    tls::ClientIdentity,
};

const KEY: &str = "key.pem";
const CERTIFICATE: &str = "certificate.pem";
const AUTHORITY: &str = "authority.pem";
const TERMS: &str = "certificate.json";

/// For how long a certificate is to be used. Kept beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// The boot it was given in; in another one it may not be good.
    pub boot: String,
    /// When to ask for another, in milliseconds since 1970 by this machine's clock.
    pub renew_at: Option<i64>,
}

/// Why there is no usable key.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The state folder does not work.
    #[error("cannot keep a key under {folder}: {source}")]
    Disk {
        /// Which folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A kept key or certificate is none.
    #[error("{path} is damaged: {why}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// The agent's key, and where its certificate is kept.
#[derive(Debug)]
pub struct Identity {
    folder: PathBuf,
    key: KeyPair,
}

impl Identity {
    /// The key kept in `folder`, or a new one.
    ///
    /// # Errors
    /// The folder does not work or holds something else.
    pub fn open(folder: &Path) -> Result<Self, IdentityError> {
        let disk = |source| IdentityError::Disk { folder: folder.to_owned(), source };
        let path = folder.join(KEY);
        let damaged = |why: String| IdentityError::Damaged { path: path.clone(), why };
        let key = match read_if_there(&path).map_err(disk)? {
            Some(pem) => KeyPair::from_pem(&String::from_utf8_lossy(&pem)).map_err(|e| damaged(e.to_string()))?,
            None => {
                let key = KeyPair::generate().map_err(|e| damaged(e.to_string()))?;
                write_atomic(&path, key.serialize_pem().as_bytes(), 0o600).map_err(disk)?;
                key
            }
        };
        Ok(Identity { folder: folder.to_owned(), key })
    }

    /// A certificate request, PEM.
    ///
    /// # Errors
    /// The key can not sign.
    pub fn request(&self, instance: &InstanceId) -> Result<String, rcgen::Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, instance.to_string());
        params.serialize_request(&self.key)?.pem()
    }

    /// Keeps the certificate that the coordinator has given.
    ///
    /// # Errors
    /// It is no certificate, or the folder does not work.
    pub fn keep(&self, certificate: &str, authority: &str, terms: &Terms) -> Result<(), IdentityError> {
        let path = self.folder.join(CERTIFICATE);
        CertificateDer::from_pem_slice(certificate.as_bytes())
            .map_err(|e| IdentityError::Damaged { path: path.clone(), why: e.to_string() })?;
        write_atomic(&self.folder.join(AUTHORITY), authority.as_bytes(), 0o600)
            .and_then(|()| write_atomic(&path, certificate.as_bytes(), 0o600))
            // Last: without them the certificate is asked for once more.
            .and_then(|()| write_atomic(&self.folder.join(TERMS), &serde_json::to_vec(terms)?, 0o600))
            .map_err(|source| IdentityError::Disk { folder: self.folder.clone(), source })
    }

    /// The terms of the certificate there is.
    #[must_use]
    pub fn terms(&self) -> Option<Terms> {
        serde_json::from_slice(&read_if_there(&self.folder.join(TERMS)).ok()??).ok()
    }

    /// The certificate chain and key for TLS, once there is a certificate.
    ///
    /// # Errors
    /// What is kept is no certificate, or can not be read.
    pub fn client(&self) -> Result<Option<ClientIdentity>, IdentityError> {
        let path = self.folder.join(CERTIFICATE);
        let pem = read_if_there(&path).map_err(|source| IdentityError::Disk { folder: self.folder.clone(), source })?;
        let Some(pem) = pem else { return Ok(None) };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        match chain {
            Ok(chain) if !chain.is_empty() => {
                let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
                Ok(Some((chain, key)))
            }
            Ok(_) => Err(IdentityError::Damaged { path, why: "it is empty".to_owned() }),
            Err(e) => Err(IdentityError::Damaged { path, why: e.to_string() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn the_key_is_kept_for_its_owner_alone_and_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let first = Identity::open(folder.path()).unwrap();
        let again = Identity::open(folder.path()).unwrap();
        assert_eq!(first.key.serialize_pem(), again.key.serialize_pem());
        assert_eq!(fs::metadata(folder.path().join(KEY)).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(first.client().unwrap().is_none());
        assert!(first.request(&"web.1".parse().unwrap()).unwrap().contains("CERTIFICATE REQUEST"));
        fs::write(folder.path().join(KEY), "x").unwrap();
        assert!(Identity::open(folder.path()).unwrap_err().to_string().contains("is damaged"));
    }
}
