//! Secrets: values that are encrypted before they are part of an event, and who may read them.
//!
//! Each run has keys of its own, derived (HKDF) from the secret of the coordinator and the id of the run.
//! A value is sealed with ChaCha20-Poly1305, the key of its parameter being associated data: neither run nor
//! parameter can be exchanged. The nonce is a MAC of parameter and value, as in SIV: `run/` has no
//! randomness, two different values never share a nonce, and the same request sent twice is known by its
//! sealed value. What this tells whoever reads the store is whether a parameter got the same value again.
//!
//! Clear text exists where a value comes in ([`Run::set`]), and in an [`Evaluation`] for a reader who may
//! have it. Everybody else sees [`MASK`].
//!
//! [`MASK`]: slipstream_shared::parameter::MASK
//! [`Evaluation`]: super::expand::Evaluation

use std::{collections::BTreeSet, fmt};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf, hmac,
};
use slipstream_shared::{
    id::{InstanceId, RunId},
    parameter::{Key, ParamType, Scope},
};

use super::{Run, value::Leaf};

/// The format of sealed values; their first byte.
const VERSION: u8 = 1;

/// Values of secrets that were chosen at launch, in clear: on their way from the request to the first events.
#[derive(Default, Clone, PartialEq, Eq)]
pub struct Secrets(pub Vec<(Key, String)>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(key, _)| key.to_string())).finish()
    }
}

/// Why a sealed value cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unsealable {
    /// It is not of a form that this version knows.
    #[error("what is stored is damaged, or was written by a later version")]
    Form,
    /// It was changed, or sealed with another key.
    #[error("it cannot be decrypted: secret.key is not the one it was written with, or what is stored is damaged")]
    Key,
}

/// The keys of one run.
#[derive(Clone)]
pub struct Vault {
    seal: LessSafeKey,
    nonces: hmac::Key,
}

impl Vault {
    /// The keys of `run`, made of the secret of the coordinator.
    #[must_use]
    pub fn new(root: &hkdf::Prk, run: RunId) -> Self {
        let run = run.to_string();
        let seal = [b"seal".as_slice(), run.as_bytes()];
        let seal = root.expand(&seal, &CHACHA20_POLY1305).expect("32 bytes are few");
        let nonces = [b"nonces".as_slice(), run.as_bytes()];
        let nonces = root.expand(&nonces, hmac::HMAC_SHA256).expect("32 bytes are few");
        Vault { seal: LessSafeKey::new(UnboundKey::from(seal)), nonces: nonces.into() }
    }

    /// A value as it may be stored: version, nonce, cipher text and tag, base64.
    #[must_use]
    pub fn seal(&self, key: &Key, value: &str) -> String {
        let name = key.to_string();
        // No key has a NUL.
        let mac = hmac::sign(&self.nonces, &[name.as_bytes(), b"\0", value.as_bytes()].concat());
        let nonce: [u8; NONCE_LEN] = mac.as_ref().first_chunk().copied().unwrap_or_default();
        let mut text = value.as_bytes().to_vec();
        self.seal
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad(&name), &mut text)
            .expect("values are short");
        STANDARD_NO_PAD.encode([&[VERSION], nonce.as_slice(), &text].concat())
    }

    /// A value that [`Vault::seal`] has sealed for the same parameter of the same run.
    ///
    /// # Errors
    /// Says what is wrong; never panics, whatever the text is.
    pub fn open(&self, key: &Key, sealed: &str) -> Result<String, Unsealable> {
        let bytes = STANDARD_NO_PAD.decode(sealed).map_err(|_| Unsealable::Form)?;
        let (version, bytes) = bytes.split_first().ok_or(Unsealable::Form)?;
        let (nonce, text) = bytes.split_first_chunk::<NONCE_LEN>().ok_or(Unsealable::Form)?;
        if *version != VERSION {
            return Err(Unsealable::Form);
        }
        let (mut text, nonce) = (text.to_vec(), Nonce::assume_unique_for_key(*nonce));
        let name = key.to_string();
        let text = self.seal.open_in_place(nonce, aad(&name), &mut text).map_err(|_| Unsealable::Key)?;
        String::from_utf8(text.to_vec()).map_err(|_| Unsealable::Form)
    }
}

fn aad(name: &str) -> Aad<Vec<u8>> {
    Aad::from([&[VERSION], name.as_bytes()].concat())
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault(<secret>)")
    }
}

impl Run {
    /// True for a parameter that is not for everybody.
    #[must_use]
    pub fn is_secret(&self, key: &Key) -> bool {
        self.declared(key).is_some_and(|declared| declared.kind == ParamType::Secret)
            || self.stored(key).is_some_and(|stored| stored.secret)
    }

    /// Whether the scripts of an instance may read a parameter: all that are plain; a secret if its module
    /// binds it, that is, if the instance has it as a parameter of its own or has one that is made of it.
    #[must_use]
    pub fn may_read(&self, reader: &InstanceId, key: &Key) -> bool {
        if !self.is_secret(key) || matches!(&key.scope, Scope::Instance(owner) if owner == reader) {
            return true;
        }
        self.bound(reader).contains(&Leaf::Value(key.clone()))
    }

    /// The secrets that the scripts of an instance may read.
    #[must_use]
    pub fn readable_secrets(&self, reader: &InstanceId) -> Vec<Key> {
        let all = self.bound(reader).into_iter().filter_map(|leaf| match leaf {
            Leaf::Value(key) if self.is_secret(&key) => Some(key),
            _ => None,
        });
        all.collect()
    }

    /// Everything that the secrets of an instance are made of, themselves included.
    fn bound(&self, reader: &InstanceId) -> BTreeSet<Leaf> {
        let mut found = BTreeSet::new();
        let own = self.node(reader).into_iter().flat_map(|node| &node.params);
        for (name, _) in own.filter(|(_, param)| param.kind == ParamType::Secret) {
            let key = Key::instance(reader, name);
            if let Some(text) = self.template(&key) {
                self.sources_of(text, Some(reader), &mut found);
            }
            found.insert(Leaf::Value(key));
        }
        found
    }

    /// The secrets that are to be made up, with their lengths: those that never had a value.
    #[must_use]
    pub fn to_generate(&self) -> Vec<(Key, u32)> {
        let never = |key: &Key| self.stored(key).is_none();
        let run = self.plan.params.iter().filter_map(|(name, param)| Some((Key::run(name), param.generate?)));
        let nodes = self.plan.nodes.iter().flat_map(|(node, plan)| {
            let generated = plan.params.iter().filter_map(|(name, param)| Some((name, param.generate?)));
            let generated: Vec<(&String, u32)> = generated.filter(|(name, _)| never(&Key::node(node, name))).collect();
            let live = self.instances.iter().filter(move |(id, i)| id.node == *node && i.is_live());
            live.flat_map(move |(id, _)| generated.clone().into_iter().map(|(name, n)| (Key::instance(id, name), n)))
        });
        run.chain(nodes).filter(|(key, _)| never(key) && self.template(key).is_none()).collect()
    }

    /// Where the secret of a parameter is kept. What was chosen at launch for all instances of a node is kept
    /// once, so that those that come later have it as well.
    pub(super) fn place_of(&self, key: &Key) -> Key {
        match &key.scope {
            Scope::Instance(id) if self.stored(key).is_none_or(|own| own.value.is_none()) => {
                let shared = Key::node(&id.node, &key.name);
                if self.stored(&shared).is_some_and(|stored| stored.secret) { shared } else { key.clone() }
            }
            _ => key.clone(),
        }
    }

    /// What was written to a parameter last, in clear.
    pub(super) fn written(&self, key: &Key) -> Option<Result<String, Unsealable>> {
        let place = if self.is_secret(key) { self.place_of(key) } else { key.clone() };
        let stored = self.stored(&place)?;
        let value = stored.value.as_ref()?;
        Some(match &self.vault {
            _ if !stored.secret => Ok(value.clone()),
            Some(vault) => vault.open(&place, value),
            None => Err(Unsealable::Key),
        })
    }
}
