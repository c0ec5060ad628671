//! Secrets of a run: its keys, values that are made up, and values shown to people who ask for them.

use slipstream_shared::{
    event::{Author, Event},
    parameter::Key,
};

use super::{
    RunError, RunHandle, World,
    actor::{Actor, Turn},
};
use crate::{
    run::{Run, change::Refused, expand::reason, secret::Secrets},
    seam::Seam,
};

/// What secrets are made up of: nothing that a shell, a URL or a configuration file could misunderstand.
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Gives a run, as it was made or read from the store, its keys.
pub(super) fn unlock(world: &World, run: &mut Run) {
    run.vault = Some(world.trust.secret.vault(run.id));
}

/// The events by which a run gets the secrets chosen at its launch.
pub(super) fn chosen(run: &Run, secrets: &Secrets) -> Vec<Event> {
    let vault = run.vault.iter();
    let sealed = vault.flat_map(|vault| secrets.0.iter().map(move |(key, value)| (key, vault.seal(key, value))));
    sealed.map(|(key, sealed)| Event::SecretSet { key: key.clone(), sealed: Some(sealed) }).collect()
}

impl Actor {
    /// Makes up the secrets that have no value yet. On record, sealed, so that a replay gives the same.
    pub(super) fn make_up_secrets(&mut self, turn: &mut Turn) {
        if self.run.state.is_final() {
            return;
        }
        for (key, length) in self.run.to_generate() {
            let value = random_text(&self.world.seam, length as usize);
            match self.run.set(&Author::System, &key, Some(&value)) {
                Ok(events) => events.into_iter().for_each(|event| self.record(turn, Author::System, None, event)),
                Err(refused) => return self.trouble(turn, format!("cannot make up a value: {refused}")),
            }
        }
    }
}

impl RunHandle {
    /// The value of a secret in clear, for the person whose run it is. On record in the coordinator's log.
    ///
    /// # Errors
    /// The run is somebody else's, or the value cannot be read.
    pub async fn reveal(&self, by: &Author, key: &Key) -> Result<Option<String>, RunError> {
        let (wanted, who) = (key.clone(), by.clone());
        let read = move |run: &Run, _: &dyn Fn(&slipstream_shared::id::InstanceId) -> bool| {
            if run.kind_of(&wanted).is_none() {
                return Err(run.unknown(&wanted));
            }
            if who != Author::User(run.owner.clone()) {
                return Err(Refused::Denied { who, what: format!("see {wanted}: only the owner of the run may") });
            }
            match run.clear_value(&wanted) {
                Ok(value) => Ok(Some(value)),
                Err(leaves) => reason(&leaves).map_or(Ok(None), |why| Err(Refused::Broken(why.to_owned()))),
            }
        };
        let value = self.read(read).await?.map_err(RunError::from)?;
        tracing::info!(run = %self.id, %key, %by, "the value of a secret was shown");
        Ok(value)
    }
}

/// Letters and digits, each as likely as any other.
fn random_text(seam: &Seam, length: usize) -> String {
    let mut text = String::with_capacity(length);
    let mut bytes = [0; 64];
    while text.len() < length {
        seam.fill(&mut bytes);
        // 248 is the largest multiple of 62 in a byte; the rest would favour the first letters.
        let letters = bytes.iter().filter(|b| **b < 248).map(|b| char::from(ALPHABET[usize::from(*b) % 62]));
        text.extend(letters.take(length - text.len()));
    }
    text
}
