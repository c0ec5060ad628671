use std::{fs, os::unix::fs::PermissionsExt as _};

use super::*;

fn open(data: &Path) -> Authority {
    Authority::open(data, &Seam::real()).expect("opens")
}

fn attempt() -> AttemptKey {
    AttemptKey {
        run: "01890a5d-ac96-774b-bcce-b302099a8057".parse().expect("a run"),
        instance: "web.2".parse().expect("an instance"),
        attempt: 3,
    }
}

fn csr(key: &KeyPair) -> String {
    CertificateParams::new(vec!["evil.example".to_owned()])
        .and_then(|params| params.serialize_request(key))
        .and_then(|csr| csr.pem())
        .expect("a request")
}

#[test]
fn the_authority_is_made_once_and_kept_private() {
    let data = tempfile::tempdir().expect("a folder");
    let first = open(data.path());
    let again = open(data.path());
    assert_eq!((first.pin(), first.pem(), first.secret()), (again.pin(), again.pem(), again.secret()));
    assert_eq!(first.pin().len(), 43);
    for file in ["ca.key", "secret.key"] {
        let mode = fs::metadata(data.path().join(file)).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

#[test]
fn the_pin_is_that_of_the_certificate() {
    let data = tempfile::tempdir().expect("a folder");
    let authority = open(data.path());
    let key = spki(authority.der()).expect("a certificate");
    assert_eq!(authority.pin(), URL_SAFE_NO_PAD.encode(digest(&SHA256, &key)));
}

#[test]
fn an_agent_is_named_by_its_certificate_and_by_nothing_in_its_request() {
    let data = tempfile::tempdir().expect("a folder");
    let authority = open(data.path());
    let key = KeyPair::generate().expect("a key");
    let agent = agent_key(&csr(&key)).expect("a request");
    let pem = authority.sign_agent(&agent, &attempt(), 7, AGENT_LIFE).expect("signed");
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM");
    let expected = hex(digest(&SHA256, &key.subject_public_key_info()).as_ref());
    assert_eq!(peer(&der).expect("an agent"), Peer { key: attempt(), key_sha256: expected, certificate: 7 });
    assert!(!der.windows(12).any(|part| part == b"evil.example"));
    let (_, parsed) = X509Certificate::from_der(&der).expect("a certificate");
    assert!(!parsed.is_ca());
    let usage = parsed.extended_key_usage().expect("readable").expect("there").value;
    assert!(usage.client_auth && !usage.server_auth && !usage.any);
}

#[test]
fn a_request_that_its_key_did_not_sign_is_refused() {
    let pem = csr(&KeyPair::generate().expect("a key"));
    let der = rustls::pki_types::CertificateSigningRequestDer::from_pem_slice(pem.as_bytes()).expect("PEM");
    let mut bytes = der.to_vec();
    // The common part of the request: any change there breaks the signature.
    let place = bytes.windows(12).position(|part| part == b"evil.example").expect("in it");
    bytes[place] = b'E';
    let body = base64::engine::general_purpose::STANDARD.encode(bytes);
    let forged = format!("-----BEGIN CERTIFICATE REQUEST-----\n{body}\n-----END CERTIFICATE REQUEST-----\n");
    assert!(matches!(agent_key(&forged), Err(PkiError::Request(_))));
    assert!(matches!(agent_key("hello"), Err(PkiError::Request(_))));
}

#[test]
fn certificates_of_servers_name_no_agent() {
    let data = tempfile::tempdir().expect("a folder");
    let authority = open(data.path());
    let (chain, _) = authority.server(&["cloud.example.org".to_owned()]).expect("made");
    assert!(matches!(peer(&chain[0]), Err(PkiError::Peer)));
    assert_eq!(chain[1], *authority.der());
    let (_, leaf) = X509Certificate::from_der(&chain[0]).expect("a certificate");
    let names = leaf.subject_alternative_name().expect("readable").expect("there").value.general_names.len();
    assert_eq!(names, 5);
}

#[test]
fn a_lost_or_foreign_key_is_not_replaced_silently() {
    let (one, two) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    open(one.path());
    open(two.path());
    fs::copy(two.path().join("ca.key"), one.path().join("ca.key")).expect("copied");
    let error = Authority::open(one.path(), &Seam::real()).err().expect("refused").to_string();
    assert!(error.contains("ca.key does not belong to ca.pem"), "{error}");
    fs::remove_file(one.path().join("ca.key")).expect("removed");
    let error = Authority::open(one.path(), &Seam::real()).err().expect("refused").to_string();
    assert!(error.contains("ca.key is missing; restore it"), "{error}");
}
