//! The coordinator's own certificate authority: who it is to agents, and who they are to it.
//!
//! Made at the first start, kept in the data folder (`ca.pem`, `ca.key`). Contexts and CLI profiles
//! pin its public key ([`Authority::pin`]), so the key must outlive every image that was told of it.
//! The server's own certificate is made anew at each start: nothing refers to it.
//!
//! An agent is known by the name in its certificate, `slipstream:run/<run>/<instance>/<attempt>`, where a
//! machine that has booted again since its launch has the number of its certificate behind that, and by the SHA-256 of its public key (SPKI, DER, hexadecimal), which the run's log holds as well.

use std::{path::Path, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKey, PublicKeyData as _, SanType, SerialNumber,
};
use ring::digest::{SHA256, digest};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _};
use slipstream_shared::id::AttemptKey;
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer as _, X509Certificate},
};

use crate::{
    files::{self, PUBLIC, SECRET},
    seam::Seam,
};

/// The name agents ask for, whatever address they connect to.
pub const AGENT_SERVER_NAME: &str = "coordinator.slipstream.internal";

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Images are used for years.
const AUTHORITY_LIFE: Duration = DAY.saturating_mul(365 * 30);

/// Made anew at each start; no coordinator runs for longer without an upgrade.
const SERVER_LIFE: Duration = DAY.saturating_mul(365);

/// The life of an agent's certificate unless the configuration says otherwise. It asks for another with the same
/// key and token when two thirds of it have passed.
pub const AGENT_LIFE: Duration = DAY.saturating_mul(7);

/// Clocks of machines may be behind by this much.
const BACKDATED: Duration = DAY;

const NAME_PREFIX: &str = "slipstream:run/";

/// Why a certificate or a key cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file of the authority cannot be read or written.
    #[error("cannot access {path}")]
    Io {
        /// Which file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file of the authority is there but not what it should be.
    #[error(
        "{path} {problem}; restore it from a backup, or remove ca.pem to start anew (agents and profiles then no longer trust this coordinator)"
    )]
    Damaged {
        /// Which file.
        path: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A certificate cannot be made.
    #[error("cannot make a certificate")]
    Make(#[from] rcgen::Error),
    /// A certificate request is not one, or is not signed by its own key.
    #[error("not a certificate request signed by its own key")]
    Request(#[source] rcgen::Error),
    /// A client certificate does not name an agent.
    #[error("the client certificate does not name an agent of this coordinator")]
    Peer,
}

/// The authority with its key.
pub struct Authority {
    pem: String,
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    secret: [u8; 32],
    seam: Seam,
}

/// The public key of an agent that has proved to have the private one.
#[derive(Debug)]
pub struct AgentKey {
    public: PublicKey,
    /// SHA-256 of the key, hexadecimal.
    pub sha256: String,
}

/// An agent, as its certificate names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Which machine of which run.
    pub key: AttemptKey,
    /// SHA-256 of its public key, hexadecimal.
    pub key_sha256: String,
    /// The number of its certificate: grows when its machine boots again.
    pub certificate: u32,
}

impl Authority {
    /// Opens the authority in a data folder; makes it if there is none. Blocks; meant for start-up.
    ///
    /// # Errors
    /// See [`PkiError`].
    pub fn open(data: &Path, seam: &Seam) -> Result<Self, PkiError> {
        let (pem_path, key_path) = (data.join("ca.pem"), data.join("ca.key"));
        let (pem, key) = match read(&pem_path)? {
            Some(pem) => {
                let key = read(&key_path)?.ok_or_else(|| damaged(&key_path, "is missing"))?;
                let key = std::str::from_utf8(&key).ok().and_then(|key| KeyPair::from_pem(key).ok());
                let key = key.ok_or_else(|| damaged(&key_path, "holds no private key"))?;
                (String::from_utf8(pem).map_err(|_| damaged(&pem_path, "holds no certificate"))?, key)
            }
            None => make_authority(&pem_path, &key_path, seam)?,
        };
        let der = CertificateDer::from_pem_slice(pem.as_bytes());
        let der = der.map_err(|_| damaged(&pem_path, "holds no certificate"))?;
        if spki(&der).map_err(|_| damaged(&pem_path, "holds no certificate"))? != key.subject_public_key_info() {
            return Err(damaged(&key_path, "does not belong to ca.pem"));
        }
        let issuer = Issuer::from_ca_cert_der(&der, key)?;
        let secret = secret(&data.join("secret.key"), seam)?;
        Ok(Authority { pem, der, issuer, secret, seam: seam.clone() })
    }

    /// The certificate, PEM.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The certificate, DER.
    #[must_use]
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// Where launch tokens come from.
    #[must_use]
    pub fn secret(&self) -> &[u8; 32] {
        &self.secret
    }

    /// SHA-256 of the public key, base64url: what contexts pin.
    #[must_use]
    pub fn pin(&self) -> String {
        URL_SAFE_NO_PAD.encode(digest(&SHA256, &self.issuer.key().subject_public_key_info()))
    }

    /// A new certificate of the server, with the authority's, and its key.
    ///
    /// # Errors
    /// A name is neither a DNS name nor an address.
    pub fn server(&self, names: &[String]) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), PkiError> {
        let mut all: Vec<String> =
            [AGENT_SERVER_NAME, "localhost", "127.0.0.1", "::1"].into_iter().map(str::to_owned).collect();
        all.extend(names.iter().filter(|name| !all.contains(name)).cloned().collect::<Vec<_>>());
        let mut params = CertificateParams::new(all)?;
        params.distinguished_name.push(DnType::CommonName, "SlipStream coordinator");
        self.stamp(&mut params, SERVER_LIFE, ExtendedKeyUsagePurpose::ServerAuth);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Ok((vec![certificate.der().clone(), self.der.clone()], key))
    }

    /// The certificate of an agent, PEM.
    ///
    /// # Errors
    /// It cannot be signed.
    pub fn sign_agent(
        &self,
        agent: &AgentKey,
        key: &AttemptKey,
        number: u32,
        life: Duration,
    ) -> Result<String, PkiError> {
        let mut name = format!("{NAME_PREFIX}{}/{}/{}", key.run, key.instance, key.attempt);
        if number > 0 {
            name += &format!("/{number}");
        }
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name.as_str());
        params.subject_alt_names = vec![SanType::URI(name.as_str().try_into()?)];
        self.stamp(&mut params, life, ExtendedKeyUsagePurpose::ClientAuth);
        Ok(params.signed_by(&agent.public, &self.issuer)?.pem())
    }

    fn stamp(&self, params: &mut CertificateParams, life: Duration, usage: ExtendedKeyUsagePurpose) {
        set_life(params, &self.seam, life);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
    }
}

/// Reads a certificate request (PKCS #10, PEM). Nothing but its key counts, and that it has signed it.
///
/// # Errors
/// It is not one, or its signature is wrong.
pub fn agent_key(csr: &str) -> Result<AgentKey, PkiError> {
    let request = CertificateSigningRequestParams::from_pem(csr).map_err(PkiError::Request)?;
    let sha256 = hex(digest(&SHA256, &request.public_key.subject_public_key_info()).as_ref());
    Ok(AgentKey { public: request.public_key, sha256 })
}

/// Reads who an agent is from the certificate that TLS has verified.
///
/// # Errors
/// It names no agent.
pub fn peer(der: &CertificateDer<'_>) -> Result<Peer, PkiError> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| PkiError::Peer)?;
    let names = certificate.subject_alternative_name().map_err(|_| PkiError::Peer)?.ok_or(PkiError::Peer)?;
    let name = names.value.general_names.iter().find_map(|name| match name {
        GeneralName::URI(uri) => uri.strip_prefix(NAME_PREFIX),
        _ => None,
    });
    let (key, certificate_number) = name.and_then(parse_name).ok_or(PkiError::Peer)?;
    Ok(Peer {
        key,
        certificate: certificate_number,
        key_sha256: hex(digest(&SHA256, certificate.public_key().raw).as_ref()),
    })
}

/// Bytes as lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn parse_name(name: &str) -> Option<(AttemptKey, u32)> {
    let mut parts = name.split('/');
    let key = AttemptKey {
        run: parts.next()?.parse().ok()?,
        instance: parts.next()?.parse().ok()?,
        attempt: parts.next()?.parse().ok()?,
    };
    let number = parts.next().map_or(Some(0), |number| number.parse().ok())?;
    parts.next().is_none().then_some((key, number))
}

fn make_authority(pem_path: &Path, key_path: &Path, seam: &Seam) -> Result<(String, KeyPair), PkiError> {
    let mut mark = [0; 4];
    seam.fill(&mut mark);
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, format!("SlipStream authority {}", hex(&mark)));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_life(&mut params, seam, AUTHORITY_LIFE);
    let key = KeyPair::generate()?;
    let pem = params.self_signed(&key)?.pem();
    // The certificate last: it is what says that the authority exists.
    write(key_path, key.serialize_pem().as_bytes(), SECRET)?;
    write(pem_path, pem.as_bytes(), PUBLIC)?;
    Ok((pem, key))
}

fn set_life(params: &mut CertificateParams, seam: &Seam, life: Duration) {
    let now = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_millis(seam.now());
    params.not_before = now - BACKDATED;
    params.not_after = now + life;
    let mut serial = [0; 16];
    seam.fill(&mut serial);
    // A positive number without a leading zero byte, as X.509 wants it.
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
}

fn secret(path: &Path, seam: &Seam) -> Result<[u8; 32], PkiError> {
    if let Some(bytes) = read(path)? {
        return bytes.try_into().map_err(|_| damaged(path, "does not hold 32 bytes"));
    }
    let mut secret = [0; 32];
    seam.fill(&mut secret);
    write(path, &secret, SECRET)?;
    Ok(secret)
}

fn spki(der: &CertificateDer<'_>) -> Result<Vec<u8>, PkiError> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| PkiError::Peer)?;
    Ok(certificate.public_key().raw.to_vec())
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, PkiError> {
    files::read_optional(path).map_err(|source| PkiError::Io { path: path.display().to_string(), source })
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), PkiError> {
    files::write_atomic(path, bytes, mode).map_err(|source| PkiError::Io { path: path.display().to_string(), source })
}

fn damaged(path: &Path, problem: &'static str) -> PkiError {
    PkiError::Damaged { path: path.display().to_string(), problem }
}

#[cfg(test)]
mod tests;
