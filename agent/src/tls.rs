//! TLS towards the coordinator: its authority is known by the digest of its public key alone.
//!
//! The context carries a pin instead of a certificate, so the certificate of the authority has to come
//! with the handshake. Once found by its pin, it is the only root against which the server is verified.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use ring::digest::{SHA256, digest};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime},
};

use crate::system::System;

/// Who the coordinator is, as the context says it.
#[derive(Debug, Clone)]
pub struct Trust {
    /// SHA-256 of the authority's public key, base64url.
    pub pin: String,
    /// When the context was made: no clock is right that is behind it.
    pub issued: Timestamp,
}

/// The agent's own certificate chain and key.
pub type ClientIdentity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// The TLS configuration for one connection, HTTP/2 only.
///
/// # Errors
/// The certificate does not fit its key.
pub fn config(trust: &Trust, client: Option<ClientIdentity>) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = PinVerifier { trust: trust.clone(), algorithms: provider.signature_verification_algorithms };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match client {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key)?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// Accepts a server that proves its name by a chain to the pinned authority.
#[derive(Debug)]
struct PinVerifier {
    trust: Trust,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let authority = intermediates
            .iter()
            .find(|certificate| pin_of(certificate).as_deref() == Some(self.trust.pin.as_str()))
            .ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        let provider = Arc::new(CryptoProvider {
            signature_verification_algorithms: self.algorithms,
            ..rustls::crypto::ring::default_provider()
        });
        let issued = u64::try_from(self.trust.issued.as_second()).unwrap_or(0);
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now.as_secs().max(issued)));
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|e| Error::General(e.to_string()))?
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The pin of a certificate: base64url of the SHA-256 of its public key (SPKI, DER).
#[must_use]
pub fn pin_of(certificate: &CertificateDer<'_>) -> Option<String> {
    let mut store = RootCertStore::empty();
    store.add(certificate.clone().into_owned()).ok()?;
    // A trust anchor holds what is inside the SEQUENCE; the digest is over the whole of it.
    let inside = &store.roots.first()?.subject_public_key_info;
    let mut spki = vec![0x30];
    match u16::try_from(inside.len()).ok()?.to_be_bytes() {
        [0, short] if short < 0x80 => spki.push(short),
        [0, medium] => spki.extend([0x81, medium]),
        [high, low] => spki.extend([0x82, high, low]),
    }
    spki.extend_from_slice(inside);
    Some(URL_SAFE_NO_PAD.encode(digest(&SHA256, &spki)))
}

/// Opens TLS to a service of this machine's own, whoever signed its certificate: a ready check asks
/// whether it answers, not who it is.
///
/// # Errors
/// It does not answer.
pub async fn unverified(
    host: &str,
    stream: tokio::net::TcpStream,
) -> std::io::Result<tokio_rustls::client::TlsStream<tokio::net::TcpStream>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Anyone(provider.signature_verification_algorithms);
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(std::io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(std::io::Error::other)?;
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// Takes any certificate; see [`unverified`].
#[derive(Debug)]
struct Anyone(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// True when the clock is behind the moment the context was made, so that certificates are judged by
/// the latter.
#[must_use]
pub fn clock_is_behind(trust: &Trust) -> bool {
    System::now() < trust.issued
}

#[cfg(test)]
mod tests {
    use rcgen::PublicKeyData as _;

    use super::*;

    struct World {
        chain: Vec<CertificateDer<'static>>,
        verifier: PinVerifier,
    }

    fn world(name: &str) -> World {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pin = URL_SAFE_NO_PAD.encode(digest(&SHA256, &key.subject_public_key_info()));
        let authority = params.clone().self_signed(&key).unwrap();
        let issuer = rcgen::Issuer::new(params, key);
        let mut leaf = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        leaf.not_before = rcgen::date_time_ymd(2020, 1, 1);
        leaf.not_after = rcgen::date_time_ymd(2050, 1, 1);
        let leaf = leaf.signed_by(&rcgen::KeyPair::generate().unwrap(), &issuer).unwrap();
        let trust = Trust { pin, issued: "2026-01-01T00:00:00Z".parse().unwrap() };
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        World { chain: vec![leaf.into(), authority.into()], verifier: PinVerifier { trust, algorithms } }
    }

    fn verify(world: &World, chain: &[CertificateDer<'_>], name: &str, now: u64) -> Result<(), Error> {
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now));
        let name = ServerName::try_from(name.to_owned()).unwrap();
        world.verifier.verify_server_cert(&chain[0], &chain[1..], &name, &[], now).map(|_| ())
    }

    const IN_2030: u64 = 1_893_456_000;

    #[test]
    fn the_pinned_authority_vouches_for_the_name() {
        let world = world("c.internal");
        verify(&world, &world.chain, "c.internal", IN_2030).unwrap();
        verify(&world, &world.chain, "other.internal", IN_2030).unwrap_err();
        verify(&world, &world.chain, "c.internal", 9 * IN_2030).unwrap_err();
    }

    #[test]
    fn a_clock_that_is_behind_the_context_is_set_right() {
        let world = world("c.internal");
        verify(&world, &world.chain, "c.internal", 0).unwrap();
    }

    #[test]
    fn another_authority_is_refused_even_beside_the_pinned_one() {
        let (ours, theirs) = (world("c.internal"), world("c.internal"));
        verify(&ours, &theirs.chain, "c.internal", IN_2030).unwrap_err();
        let mixed = [theirs.chain[0].clone(), ours.chain[1].clone()];
        verify(&ours, &mixed, "c.internal", IN_2030).unwrap_err();
        verify(&ours, &ours.chain[..1], "c.internal", IN_2030).unwrap_err();
    }
}
